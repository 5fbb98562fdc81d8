"""Figures are what their definitions say, whatever the size of the split."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from lepton_learn.evaluation import Evaluator, report
from lepton_learn.examples import Examples
from lepton_learn.families import build_model
from lepton_learn.manifest import Split
from lepton_learn.recipe import Mlp
from lepton_learn.schema import Transform
from lepton_learn.scores.classification import accuracy
from lepton_learn.task import task_of


@pytest.mark.parametrize("records", [1, 255, 256, 257, 600])
def test_every_record_counts_once(digits: Any, records: int) -> None:
    data = digits.first(records)
    examples = data[Split.TRAIN]
    model = build_model(Mlp(hidden_units=(4,)), data.transform, label_scale=None)
    figures = Evaluator(model, task_of(model, data.transform, label_scale=None)).measure(examples)
    inputs, labels = examples.take(np.arange(records))
    probabilities = keras.ops.softmax(model(inputs)).numpy()
    assert figures["accuracy"] == pytest.approx(accuracy(labels, probabilities))
    expected = -np.log(probabilities[np.arange(records), labels]).mean()
    assert figures["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_regression_is_measured_in_the_unit_of_its_label(diabetes: Callable[[Transform], Any]) -> None:
    figures = []
    for transform in (Transform.IDENTITY, Transform.STANDARDIZE):
        data = diabetes(transform)
        scale = data[Split.TRAIN].label_scale
        keras.utils.set_random_seed(0)
        model = build_model(Mlp(), data.transform, label_scale=scale)
        task = task_of(model, data.transform, label_scale=scale)
        figures.append(Evaluator(model, task).measure(data[Split.TEST]))
    assert figures[0] == pytest.approx(figures[1], rel=1e-4)


def test_the_whole_report_agrees_with_the_figures(digits: Any, diabetes: Callable[[Transform], Any]) -> None:
    for data in (digits, diabetes(Transform.STANDARDIZE)):
        scale = data[Split.TRAIN].label_scale
        model = build_model(Mlp(hidden_units=(4,)), data.transform, label_scale=scale)
        task = task_of(model, data.transform, label_scale=scale)
        halves = {"half": np.arange(len(data[Split.TEST])) % 2}
        document = report(model, task, data[Split.TEST], classes=data.transform.classes, slices=halves)
        measured = Evaluator(model, task).measure(data[Split.TEST])
        assert {name: document["figures"][name] for name in measured} == pytest.approx(measured)
        assert [each["name"] for each in document.get("classes", ())] == [*data.transform.classes]
        (told,) = document["slices"]
        assert sum(each["records"] for each in told["slices"]) == document["records"]


def test_records_that_would_take_much_memory_are_transformed_batch_by_batch(breast_cancer: Any) -> None:
    raw, places = breast_cancer.raw[Split.TEST], np.array([5, 0, 5])
    once = Examples(breast_cancer.transform, raw)
    each_time = Examples(breast_cancer.transform, raw, transformed_limit_bytes=0)
    for left, right in zip(once.take(places), each_time.take(places), strict=True):
        np.testing.assert_array_equal(left, right)
