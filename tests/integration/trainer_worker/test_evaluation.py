"""What lies beside a trained model agrees with what its version tells, on real patients."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_diabetes

from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform

from .conftest import PATIENCE_SECONDS, Workplace

pytestmark = pytest.mark.timeout(3 * PATIENCE_SECONDS)

NUMBERS = ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
FEATURES = (
    *(Column(name=name, type=ColumnType.NUMBER, transform=Transform.STANDARDIZE) for name in NUMBERS[1:]),
    Column(name="age", type=ColumnType.INTEGER, transform=Transform.STANDARDIZE),
    Column(name="sex", type=ColumnType.CATEGORY, transform=Transform.ONE_HOT),
)
COURSE = Column(name="course", type=ColumnType.CATEGORY, transform=Transform.INDEX)
PROGRESSION = Column(name="progression", type=ColumnType.NUMBER, transform=Transform.IDENTITY)
RECIPE = {"architecture": {"family": "mlp", "hidden_units": [8]}, "max_epochs": 3, "slice_columns": ["sex"]}
CURVES = {"learning_curves"}


def patients(label: Column) -> tuple[Batch, Schema]:
    """442 patients with diabetes, and how it went on: as a quantity, or whether it was fast."""
    bunch = load_diabetes(scaled=False)
    order = np.random.default_rng(0).permutation(len(bunch.target))
    columns = dict(zip(bunch.feature_names, bunch.data[order].T, strict=True))
    records: Batch = {name: columns[name].astype(np.float32) for name in NUMBERS[1:]}
    records["age"] = columns["age"].astype(np.int64)
    records["sex"] = np.where(columns["sex"] == 1, "one", "two").astype(object)
    target = bunch.target[order]
    if label is COURSE:
        records["course"] = np.where(target > 140, "fast", "slow").astype(object)
    else:
        records["progression"] = target.astype(np.float32)
    return records, Schema((*FEATURES, label), label.name)


def scalars(data: bytes, folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves of an event file, as TensorFlow reads them."""
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    path = folder / "events"
    path.write_bytes(data)
    first, *events = (
        event_pb2.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))
    )
    assert first.file_version == "brain.Event:2"
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events:
        (value,) = event.summary.value
        found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def train(workplace: Workplace, recipe: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The output of a training, and its evaluation."""
    assert workplace.start("patients", recipe).wait(PATIENCE_SECONDS) == 0
    output = workplace.output("patients")
    return output, json.loads(workplace.file(output, "evaluation.json"))


def check_pictures(workplace: Workplace, output: Mapping[str, Any], names: set[str]) -> None:
    """The pictures are these, and can be looked at."""
    paths = {one["path"] for one in output["files"] if one["path"].startswith("plots/")}
    assert paths == {f"plots/{name}.png" for name in names}
    for path in paths:
        image = Image.open(io.BytesIO(workplace.file(output, path)))
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 100


def test_two_classes_are_told_apart_by_slice_and_threshold(
    open_workplace: Callable[..., Workplace], tmp_path: Path
) -> None:
    records, schema = patients(COURSE)
    workplace = open_workplace(records, schema)
    output, evaluation = train(workplace, {**RECIPE, "slice_columns": ["sex", "age"]})
    metrics = output["metrics"]
    told = {name: evaluation["figures"][name] for name in ("loss", "accuracy", "roc_auc", "brier_score")}
    assert {name: metrics[name] for name in told} == told
    assert (evaluation["format"], evaluation["split"], evaluation["label"]) == (1, "test", "course")
    assert evaluation["records"] == np.sum(evaluation["confusion"]) == 45
    assert evaluation["binary"]["positive"] == "slow"

    test = records["sex"][len(records["sex"]) * 9 // 10 :]
    sex, age = evaluation["slices"]
    assert {each["value"]: each["records"] for each in sex["slices"]} == {
        "one": (test == "one").sum(),
        "two": (test == "two").sum(),
    }
    assert sum(each["records"] for each in age["slices"]) == evaluation["records"]

    names = CURVES | {"confusion", "calibration", "roc", "slices"}
    check_pictures(workplace, output, names)
    curves = scalars(workplace.file(output, "tensorboard/events.out.tfevents.0.lepton"), tmp_path)
    history = json.loads(workplace.file(output, "history.json"))
    for tag, name in (("loss/training", "loss"), ("accuracy/validation", "validation_accuracy")):
        assert [step for step, _ in curves[tag]] == [*range(1, len(history) + 1)]
        assert [value for _, value in curves[tag]] == pytest.approx([figures[name] for figures in history])
    ((step, area),) = curves["test/roc_auc"]
    assert step == metrics["best_epoch"]
    assert area == pytest.approx(metrics["roc_auc"])


def test_a_quantity_has_residuals(open_workplace: Callable[..., Workplace]) -> None:
    records, schema = patients(PROGRESSION)
    workplace = open_workplace(records, schema)
    output, evaluation = train(workplace, RECIPE)
    assert output["metrics"]["mae"] == evaluation["figures"]["mae"]
    truth = records["progression"][len(records["progression"]) * 9 // 10 :]
    assert evaluation["sample"]["truth"] == pytest.approx(truth.tolist())
    errors = np.array(evaluation["sample"]["predictions"]) - truth
    assert evaluation["figures"]["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    check_pictures(workplace, output, CURVES | {"predictions", "slices"})
