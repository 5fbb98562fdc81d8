"""The training worker as a process: real digits in, a model out, whatever is done to it in between."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lepton_common.errors import LeptonError
from lepton_common.jobs import files
from lepton_common.manifests import Blob, get_blob, put_blob
from lepton_common.objects import ObjectStore
from lepton_learn.manifest import Manifest, Shard, Split, save_manifest
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.shards import write_shard
from lepton_learn.transform import FittedTransform

RESTART = 75
# Importing TensorFlow takes ten seconds of a core, and a machine may be busy with other tests.
PATIENCE_SECONDS = 200
pytestmark = pytest.mark.timeout(3 * PATIENCE_SECONDS)
CNN: dict[str, Any] = {"architecture": {"family": "cnn"}}
EPOCHS, STEPS = 60, 8
SMALL = {
    "architecture": {"family": "cnn", "filters": [4], "dense_units": 8},
    "max_epochs": EPOCHS,
    "convergence": {"patience": 0},
    "seed": 5,
}
SCHEMA = Schema(
    (
        Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(8, 8, 1)),
        Column(name="digit", type=ColumnType.INTEGER, transform=Transform.INDEX),
    ),
    "digit",
)


def keras_config(text: str) -> dict[str, Any]:
    """The recipe of a model that is given as a Keras config."""
    return {"architecture": {"family": "keras_config", "json": text}}


@dataclass
class Workplace:
    """An object store with a dataset version in it, and the workers that were started on it."""

    root: Path
    manifest: Blob
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def store(self) -> ObjectStore:
        return ObjectStore(f"file://{self.root}")

    def start(
        self, job: str, recipe: Mapping[str, Any], *, attempt: int = 1, workers: int = 1
    ) -> subprocess.Popen[bytes]:
        reference = {"key": self.manifest.key, "sha256": self.manifest.sha256}
        files.write_spec(self.store, job, {"recipe": recipe, "manifest": reference})
        directory = self.root.parent / f"{job}-{attempt}"
        directory.mkdir()
        environment = {
            **os.environ,
            "LEPTON_JOB": job,
            "LEPTON_ATTEMPT": str(attempt),
            "LEPTON_OBJECT_STORE_URL": f"file://{self.root}",
            "LEPTON_WORKER_INDEX": "0",
            "LEPTON_WORKERS": str(workers),
            "LEPTON_RUN_DIRECTORY": str(directory),
        }
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lepton_trainer.worker"], env=environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def output(self, job: str, *, attempt: int = 1) -> Mapping[str, Any]:
        outcome = files.read_outcome(self.store, job, attempt)
        assert outcome is not None
        assert outcome.output is not None
        return outcome.output

    def error(self, job: str) -> LeptonError:
        outcome = files.read_outcome(self.store, job, 1)
        assert outcome is not None
        assert outcome.error is not None
        return outcome.error

    def file(self, output: Mapping[str, Any], path: str) -> bytes:
        entry = next(one for one in output["files"] if one["path"] == path)
        return get_blob(self.store, Blob(entry["key"], entry["sha256"], entry["size_bytes"]))

    def last_epoch(self, job: str) -> int:
        keys = [info.key for info in self.store.list(f"jobs/{job}/checkpoints")]
        return max((int(key.split("/")[3]) for key in keys), default=0)

    def wait_for_epoch(self, job: str, epoch: int) -> None:
        self._wait_until(lambda: self.last_epoch(job) >= epoch)

    def first_step(self, job: str, *, attempt: int) -> int:
        """The first step that an attempt is seen to have done."""

        def done() -> int:
            report = files.read_report(self.store, job, attempt)
            return report.progress.done if report and report.progress.phase == "training" else 0

        self._wait_until(lambda: done() > 0)
        return done()

    @staticmethod
    def _wait_until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "nothing happened in time"
            time.sleep(0.02)


def digits() -> Batch:
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    pixels = (bunch.images * 255 / 16).round().astype(np.uint8)[..., np.newaxis]
    return {"image": pixels[order], "digit": bunch.target.astype(np.int64)[order]}


def make_version(store: ObjectStore, records: Batch) -> Blob:
    """Write records as a dataset version, 80 / 10 / 10, in shards of 500."""
    count = len(records["digit"])
    bounds = {
        Split.TRAIN: range(0, count * 8 // 10),
        Split.VALIDATION: range(count * 8 // 10, count * 9 // 10),
        Split.TEST: range(count * 9 // 10, count),
    }
    splits, transform = {}, None
    for split, places in bounds.items():
        shards = []
        for start in places[::500]:
            part = {name: column[start : min(start + 500, places.stop)] for name, column in records.items()}
            shards.append(Shard(put_blob(store, "datasets/digits", write_shard(part)), len(part["digit"])))
        splits[split] = tuple(shards)
    transform = FittedTransform.fit(
        SCHEMA, [{name: column[: count * 8 // 10] for name, column in records.items()}]
    )
    return save_manifest(store, "digits", Manifest(schema=SCHEMA, splits=splits, transform=transform))


@pytest.fixture
def open_workplace(tmp_path: Path) -> Iterator[Callable[[Batch], Workplace]]:
    """Makes workplaces; their workers do not outlive the test."""
    opened: list[Workplace] = []

    def open_with(records: Batch) -> Workplace:
        root = tmp_path / "store"
        root.mkdir()
        opened.append(Workplace(root, make_version(ObjectStore(f"file://{root}"), records)))
        return opened[-1]

    yield open_with
    for workplace in opened:
        for process in workplace.processes:
            process.kill()
            process.wait()


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


def test_several_workers_are_refused(open_workplace: Callable[[Batch], Workplace]) -> None:
    workplace = open_workplace(digits())
    assert workplace.start("many", CNN, workers=2).wait(60) == 1
    assert workplace.error("many").reason == "UNIMPLEMENTED"
