"""The training worker as a process: real digits in, a model out, whatever is done to it in between."""

import json
import signal
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from lepton_common.jobs import files
from lepton_learn.schema import Batch
from lepton_learn.transform import FittedTransform

from .conftest import (
    CNN,
    EPOCHS,
    PATIENCE_SECONDS,
    RESTART,
    SCHEMA,
    SMALL,
    STEPS,
    Workplace,
    digits,
    keras_config,
)

pytestmark = pytest.mark.timeout(3 * PATIENCE_SECONDS)


def test_the_default_cnn_recognises_digits(open_workplace: Callable[[Batch], Workplace]) -> None:
    workplace = open_workplace(digits())
    assert workplace.start("good", CNN).wait(PATIENCE_SECONDS) == 0
    output = workplace.output("good")

    assert output["metrics"]["accuracy"] >= 0.97
    assert {f"accuracy/{digit}" for digit in range(10)} < set(output["metrics"])
    assert [one["path"] for one in output["files"]] == ["model.keras", "transform.json", "history.json"]
    assert output["signature"]["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}]
    assert output["signature"]["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}
    ]
    assert output["signature"]["classes"] == [str(digit) for digit in range(10)]

    transform = FittedTransform.from_json(workplace.file(output, "transform.json"))
    assert transform.schema == SCHEMA
    history = json.loads(workplace.file(output, "history.json"))
    assert len(history) == output["metrics"]["epochs"] <= 20
    report = files.read_report(workplace.store, "good", 1)
    assert report is not None
    assert {series.name for series in report.metrics} == {"loss", "validation_loss", "validation_accuracy"}


def test_a_worker_killed_and_one_asked_to_stop_are_resumed(
    open_workplace: Callable[[Batch], Workplace],
) -> None:
    workplace = open_workplace({name: column[:600] for name, column in digits().items()})
    killed = workplace.start("disturbed", SMALL)
    workplace.wait_for_epoch("disturbed", 2)
    killed.kill()
    assert killed.wait(10) == -signal.SIGKILL

    before = workplace.last_epoch("disturbed")
    asked = workplace.start("disturbed", SMALL, attempt=2)
    assert workplace.first_step("disturbed", attempt=2) > before * STEPS
    asked.terminate()
    assert asked.wait(60) == RESTART
    assert files.read_outcome(workplace.store, "disturbed", 2) is None

    before = workplace.last_epoch("disturbed")
    assert before < EPOCHS
    last = workplace.start("disturbed", SMALL, attempt=3)
    assert workplace.first_step("disturbed", attempt=3) > before * STEPS
    assert last.wait(PATIENCE_SECONDS) == 0
    output = workplace.output("disturbed", attempt=3)
    assert output["metrics"]["epochs"] == EPOCHS
    assert len(json.loads(workplace.file(output, "history.json"))) == EPOCHS


@pytest.mark.parametrize(
    ("records", "recipe", "reason"),
    [
        pytest.param(
            digits(),
            keras_config('{"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}'),
            "UNSAFE_MODEL",
            id="lambda layer",
        ),
        pytest.param(digits(), keras_config("{"), "INVALID_MODEL", id="config that is no JSON"),
        pytest.param(
            {**digits(), "digit": np.zeros(1797, np.int64)}, CNN, "SCHEMA_VIOLATION", id="one class alone"
        ),
    ],
)
def test_what_cannot_be_trained_is_told(
    open_workplace: Callable[[Batch], Workplace], records: Batch, recipe: Mapping[str, Any], reason: str
) -> None:
    workplace = open_workplace(records)
    assert workplace.start("bad", recipe).wait(60) == 1
    assert workplace.error("bad").reason == reason


def test_a_shard_that_was_changed_is_told(open_workplace: Callable[[Batch], Workplace]) -> None:
    workplace = open_workplace(digits())
    shard = next(info for info in workplace.store.list("datasets/digits/blobs"))
    workplace.store.put(shard.key, b"0" * shard.size)
    assert workplace.start("bad", CNN).wait(60) == 1
    assert workplace.error("bad").reason == "CHECKSUM_MISMATCH"
