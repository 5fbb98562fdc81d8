"""Figures are what their definitions say, whatever the size of the split."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from sklearn import metrics

from lepton_learn.evaluation import (
    Evaluator,
    accuracy,
    accuracy_by_class,
    evaluate,
    regression_figures,
)
from lepton_learn.examples import Examples
from lepton_learn.families import build_model
from lepton_learn.manifest import Split
from lepton_learn.recipe import Mlp
from lepton_learn.schema import Transform
from lepton_learn.task import task_of

LABELS = np.array([0, 0, 0, 2, 2])
PROBABILITIES = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 0]]


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert accuracy(LABELS, PROBABILITIES) == pytest.approx(3 / 5)


def test_accuracy_by_class_leaves_out_classes_without_records() -> None:
    figures = accuracy_by_class(LABELS, PROBABILITIES, classes=("a", "b", "c"))
    assert figures == {"accuracy/a": pytest.approx(2 / 3), "accuracy/c": pytest.approx(1 / 2)}


def test_regression_figures_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=50)
    predictions = (truth + random.normal(size=50)).astype(np.float32)
    figures = regression_figures(truth, predictions)
    assert figures["mse"] == pytest.approx(metrics.mean_squared_error(truth, predictions))
    assert figures["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predictions))
    assert figures["r2"] == pytest.approx(metrics.r2_score(truth, predictions))


def test_nothing_is_explained_where_nothing_varies() -> None:
    assert regression_figures(np.ones(3), np.zeros(3, np.float32))["r2"] == 0.0


@pytest.mark.parametrize("records", [1, 255, 256, 257, 600])
def test_every_record_counts_once(digits: Any, records: int) -> None:
    data = digits.first(records)
    examples = data[Split.TRAIN]
    model = build_model(Mlp(hidden_units=(4,)), data.transform, label_scale=None)
    figures = evaluate(model, task_of(model, data.transform, label_scale=None), examples, classes=())
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


def test_records_that_would_take_much_memory_are_transformed_batch_by_batch(breast_cancer: Any) -> None:
    raw, places = breast_cancer.raw[Split.TEST], np.array([5, 0, 5])
    once = Examples(breast_cancer.transform, raw)
    each_time = Examples(breast_cancer.transform, raw, transformed_limit_bytes=0)
    for left, right in zip(once.take(places), each_time.take(places), strict=True):
        np.testing.assert_array_equal(left, right)
