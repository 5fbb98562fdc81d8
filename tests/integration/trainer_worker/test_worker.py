"""The training worker as a process: real digits in, a model out, whatever is done to it in between."""

import json
import os
import random
import signal
import time
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
    Workplace,
    digits,
    keras_config,
)

KILLS = int(os.environ.get("LEPTON_TEST_KILLS", "2"))
"""How often the training of one test is killed, and asked to stop as often."""

pytestmark = pytest.mark.timeout(3 * PATIENCE_SECONDS)


def test_the_default_cnn_recognises_digits(open_workplace: Callable[[Batch], Workplace]) -> None:
    workplace = open_workplace(digits())
    assert workplace.start("good", CNN).wait(PATIENCE_SECONDS) == 0
    output = workplace.output("good")

    assert output["metrics"]["accuracy"] >= 0.97
    assert {f"accuracy/{digit}" for digit in range(10)} < set(output["metrics"])
    assert [one["path"] for one in output["files"]] == [
        "model.keras",
        "transform.json",
        "history.json",
        "evaluation.json",
        "plots/learning_curves.png",
        "plots/confusion.png",
        "plots/calibration.png",
        "tensorboard/events.out.tfevents.0.lepton",
    ]
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


@pytest.mark.timeout(3 * PATIENCE_SECONDS * KILLS)
def test_a_training_that_is_killed_at_random_ends_with_the_same_weights(
    open_workplace: Callable[[Batch], Workplace],
) -> None:
    """`LEPTON_TEST_KILLS=20` kills it twenty times, and asks it to stop as often."""
    workplace = open_workplace({name: column[:600] for name, column in digits().items()})
    # Long enough for every attempt to be at work when it is ended.
    recipe = {**SMALL, "max_epochs": 6 * EPOCHS * KILLS}
    assert workplace.start("whole", recipe).wait(PATIENCE_SECONDS * KILLS) == 0

    signals = [signal.SIGKILL, signal.SIGTERM] * KILLS
    for attempt, number in enumerate(signals, 1):
        worker = workplace.start("disturbed", recipe, attempt=attempt)
        workplace.first_step("disturbed", attempt=attempt)
        # Anywhere: within a step, an evaluation, a checkpoint.
        time.sleep(random.uniform(0, 0.2))
        worker.send_signal(number)
        assert worker.wait(60) == (RESTART if number == signal.SIGTERM else -number)
        assert files.read_outcome(workplace.store, "disturbed", attempt) is None
    last = len(signals) + 1
    assert workplace.start("disturbed", recipe, attempt=last).wait(PATIENCE_SECONDS * KILLS) == 0

    whole, disturbed = workplace.output("whole"), workplace.output("disturbed", attempt=last)
    assert disturbed["files"] == whole["files"]
    assert disturbed["metrics"] == whole["metrics"]


def test_records_that_do_not_fit_into_memory_are_learnt_from_all_the_same(
    open_workplace: Callable[[Batch], Workplace],
) -> None:
    workplace = open_workplace(digits())
    recipe = {**SMALL, "max_epochs": 3}
    assert workplace.start("roomy", recipe).wait(PATIENCE_SECONDS) == 0
    assert workplace.start("tight", recipe, input_memory_bytes=1000).wait(PATIENCE_SECONDS) == 0
    assert workplace.output("tight")["files"] == workplace.output("roomy")["files"]


def test_a_training_begins_with_a_model_or_tells_why_it_cannot(
    open_workplace: Callable[[Batch], Workplace],
) -> None:
    workplace = open_workplace({name: column[:600] for name, column in digits().items()})
    short = {**SMALL, "max_epochs": 30}
    assert workplace.start("first", short).wait(PATIENCE_SECONDS) == 0
    base = {"files": workplace.output("first")["files"], "freeze": True}
    for worker in workplace.start_team("second", short, base=base):
        assert worker.wait(PATIENCE_SECONDS) == 0
    before, after = (
        json.loads(workplace.file(workplace.output(job), "history.json")) for job in ("first", "second")
    )
    assert after[0]["validation_loss"] < before[9]["validation_loss"]
    mlp = {"architecture": {"family": "mlp"}}
    unfit = {"tabular": workplace.start("tabular", mlp, base=base)}
    unfit["empty"] = workplace.start("empty", short, base={"files": [], "freeze": False})
    assert [worker.wait(PATIENCE_SECONDS) for worker in unfit.values()] == [1, 1]
    assert "no layer of the base model fits" in workplace.error("tabular").message
    assert {workplace.error(job).reason for job in ("tabular", "empty")} == {"INVALID_MODEL"}


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
