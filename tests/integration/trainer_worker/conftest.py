"""A place where training workers run as processes, on real digits."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
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
CNN: dict[str, Any] = {"architecture": {"family": "cnn"}}
EPOCHS = 60
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
        self,
        job: str,
        recipe: Mapping[str, Any],
        *,
        attempt: int = 1,
        index: int = 0,
        peers: Sequence[str] = ("",),
        base: Mapping[str, Any] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start one worker of an attempt."""
        reference = {"key": self.manifest.key, "sha256": self.manifest.sha256}
        spec = {"recipe": recipe, "manifest": reference} | ({} if base is None else {"base": base})
        files.write_spec(self.store, job, spec)
        directory = self.root.parent / f"{job}-{attempt}-{index}"
        directory.mkdir()
        environment = {
            **os.environ,
            "LEPTON_JOB": job,
            "LEPTON_ATTEMPT": str(attempt),
            "LEPTON_OBJECT_STORE_URL": f"file://{self.root}",
            "LEPTON_WORKER_INDEX": str(index),
            "LEPTON_WORKERS": str(len(peers)),
            "LEPTON_PEERS": ",".join(peers),
            "LEPTON_RUN_DIRECTORY": str(directory),
        }
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lepton_trainer.worker"], env=environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def start_team(
        self,
        job: str,
        recipe: Mapping[str, Any],
        *,
        workers: int = 2,
        attempt: int = 1,
        base: Mapping[str, Any] | None = None,
    ) -> list[subprocess.Popen[bytes]]:
        """Start all workers of an attempt."""
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
            peers = ["{}:{}".format(*one.getsockname()) for one in sockets]
        return [
            self.start(job, recipe, attempt=attempt, index=index, peers=peers, base=base)
            for index in range(workers)
        ]

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


def make_version(store: ObjectStore, records: Batch, schema: Schema = SCHEMA) -> Blob:
    """Write records as a dataset version, 80 / 10 / 10, in shards of 500."""
    count = len(records[schema.label])
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
            shards.append(
                Shard(put_blob(store, "datasets/digits", write_shard(part)), len(part[schema.label]))
            )
        splits[split] = tuple(shards)
    transform = FittedTransform.fit(
        schema, [{name: column[: count * 8 // 10] for name, column in records.items()}]
    )
    return save_manifest(store, "digits", Manifest(schema=schema, splits=splits, transform=transform))


@pytest.fixture
def open_workplace(tmp_path: Path) -> Iterator[Callable[..., Workplace]]:
    """Makes workplaces; their workers do not outlive the test."""
    opened: list[Workplace] = []

    def open_with(records: Batch, schema: Schema = SCHEMA) -> Workplace:
        root = tmp_path / "store"
        root.mkdir()
        opened.append(Workplace(root, make_version(ObjectStore(f"file://{root}"), records, schema)))
        return opened[-1]

    yield open_with
    for workplace in opened:
        for process in workplace.processes:
            process.kill()
            process.wait()
