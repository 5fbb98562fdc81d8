"""What is said of a trained model, whichever records were held out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.datasets import load_iris

from lepton_learn.examples import Examples
from lepton_learn.families import build_model
from lepton_learn.loop import Outcome
from lepton_learn.manifest import Split
from lepton_learn.recipe import Mlp
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.task import Task, task_of
from lepton_learn.transform import FittedTransform
from lepton_trainer.worker.event_file import EVENTS, Scalar, event_file
from lepton_trainer.worker.report import Evaluation, evaluate

EVENT_FILE = f"tensorboard/{EVENTS}"
SCHEMA = Schema(
    (
        Column(name="petal", type=ColumnType.TENSOR, transform=Transform.STANDARDIZE, shape=(2,)),
        Column(name="species", type=ColumnType.CATEGORY, transform=Transform.INDEX),
    ),
    "species",
)
OUTCOME = Outcome(
    history=({"loss": 1.5, "validation_loss": 1.25}, {"loss": 0.5, "validation_loss": 0.75}),
    best_epoch=2,
    converged=False,
)


def irises() -> Batch:
    """Petals of 150 irises of three kinds."""
    bunch = load_iris()
    return {
        "petal": bunch.data[:, 2:].astype(np.float32),
        "species": bunch.target_names.astype(object)[bunch.target],
    }


@pytest.fixture(scope="module")
def model() -> tuple[keras.Model, Task, FittedTransform]:
    """One that has not learnt anything."""
    transform = FittedTransform.fit(SCHEMA, [irises()])
    keras.utils.set_random_seed(0)
    made = build_model(Mlp(hidden_units=(4,)), transform, label_scale=None)
    return made, task_of(made, transform, label_scale=None), transform


def evaluated(model: tuple[keras.Model, Task, FittedTransform], records: Mapping[Split, int]) -> Evaluation:
    """The evaluation where so many records of each split are there, told apart by which half they are of."""
    made, task, transform = model

    def part(split: Split) -> Batch:
        places = np.random.default_rng(len(split.value)).permutation(150)[: records.get(split, 0)]
        return {name: column[places] for name, column in irises().items()}

    examples = {split: Examples(transform, part(split)) for split in Split}
    return evaluate(
        made,
        task,
        examples,
        transform=transform,
        slices=lambda split: {"half": np.arange(len(examples[split])) % 2},
        outcome=OUTCOME,
    )


def curves(data: bytes, folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of an event file."""
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    path = folder / EVENTS
    path.write_bytes(data)
    found: dict[str, list[tuple[int, float]]] = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = event_pb2.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


LOSSES = {"loss/training": [(1, 1.5), (2, 0.5)], "loss/validation": [(1, 1.25), (2, 0.75)]}


@pytest.mark.parametrize(
    ("records", "split", "count", "prefix"),
    [
        pytest.param({Split.TEST: 60, Split.VALIDATION: 40}, "test", 60, "", id="test"),
        pytest.param({Split.VALIDATION: 40}, "validation", 40, "validation_", id="validation alone"),
    ],
)
def test_what_was_held_out_is_measured(
    model: Any, tmp_path: Path, records: Mapping[Split, int], split: str, count: int, prefix: str
) -> None:
    found = evaluated(model, records)
    document = json.loads(found.files["evaluation.json"])
    assert (document["format"], document["split"], document["label"]) == (1, split, "species")
    assert document["records"] == count
    assert [each["records"] for each in document["slices"][0]["slices"]] == [count // 2, count // 2]
    assert {*found.files} == {"evaluation.json", EVENT_FILE} | {
        f"plots/{name}.png" for name in ("learning_curves", "confusion", "calibration", "slices")
    }
    figures = document["figures"]
    assert found.metrics[f"{prefix}accuracy"] == figures["accuracy"]
    assert all(name.startswith(prefix) for name in found.metrics)
    measured = curves(found.files[EVENT_FILE], tmp_path)
    assert {name: measured.pop(name) for name in LOSSES} == LOSSES
    assert {name.partition("/")[0] for name in measured} == {split}
    ((epoch, accuracy),) = measured[f"{split}/accuracy"]
    assert epoch == OUTCOME.best_epoch
    assert accuracy == pytest.approx(figures["accuracy"])


def test_where_nothing_was_held_out_the_curves_are_all(model: Any, tmp_path: Path) -> None:
    found = evaluated(model, {})
    assert found.metrics == {}
    assert {*found.files} == {"plots/learning_curves.png", EVENT_FILE}
    assert curves(found.files[EVENT_FILE], tmp_path) == LOSSES


def test_equal_scalars_have_equal_event_files() -> None:
    scalars = [Scalar("loss/training", 1, 0.5), Scalar("loss/training", 2, float("nan"))]
    assert event_file(scalars) == event_file(scalars)
