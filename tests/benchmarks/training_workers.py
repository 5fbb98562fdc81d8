"""How fast training workers are as processes: one, two, and one that goes on where another was killed."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lepton_common.jobs import files
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_learn.manifest import Manifest, Shard, Split, save_manifest
from lepton_learn.schema import Batch
from lepton_learn.shards import write_shard
from lepton_learn.transform import FittedTransform

PATIENCE_SECONDS = 300.0
MEASURED_SECONDS = 8.0


def measure(transform: FittedTransform, records: Batch, recipe: Mapping[str, Any]) -> dict[str, float]:
    """Train one model with one worker, with two, and with one that takes over from another.

    Args:
        transform: of the records.
        records: of the training split; there are no others.
        recipe: long enough not to end while it is measured.

    Returns:
        `one` and `two`, steps a second; `resume`, seconds from the start of a process to its first step.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = ObjectStore(f"file://{folder}/store")
        shard = Shard(put_blob(store, "datasets/d", write_shard(records)), len(next(iter(records.values()))))
        manifest = Manifest(schema=transform.schema, splits={Split.TRAIN: (shard,)}, transform=transform)
        blob = save_manifest(store, "d", manifest)
        spec = {"recipe": recipe, "manifest": {"key": blob.key, "sha256": blob.sha256}}
        for job in ("one", "two"):
            files.write_spec(store, job, spec)
        with _workers(Path(folder), store, "one"):
            _wait(lambda: _step(store, "one"))
            one = _rate(store, "one")
            # Something to go on from: the first checkpoint comes after a while.
            _wait(lambda: any(True for _ in store.list(f"{files.prefix('one')}/checkpoints")))
        begun = time.monotonic()
        with _workers(Path(folder), store, "one", attempt=2):
            _wait(lambda: _step(store, "one", attempt=2))
            resume = time.monotonic() - begun
        with _workers(Path(folder), store, "two", workers=2):
            _wait(lambda: _step(store, "two"))
            two = _rate(store, "two")
    return {"one": one, "two": two, "resume": resume}


@contextmanager
def _workers(
    folder: Path, store: ObjectStore, job: str, *, workers: int = 1, attempt: int = 1
) -> Iterator[None]:
    """Run the workers of an attempt; they are killed at the end."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
        peers = ["{}:{}".format(*one.getsockname()) for one in sockets]
    processes = [
        _start(folder, store, job, attempt=attempt, index=index, peers=peers) for index in range(workers)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(
    folder: Path, store: ObjectStore, job: str, *, attempt: int, index: int, peers: Sequence[str]
) -> subprocess.Popen[bytes]:
    directory = folder / f"{job}-{attempt}-{index}"
    directory.mkdir()
    environment = {
        **os.environ,
        "LEPTON_JOB": job,
        "LEPTON_ATTEMPT": str(attempt),
        "LEPTON_OBJECT_STORE_URL": store.url,
        "LEPTON_WORKER_INDEX": str(index),
        "LEPTON_WORKERS": str(len(peers)),
        "LEPTON_PEERS": ",".join(peers),
        "LEPTON_RUN_DIRECTORY": str(directory),
    }
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "lepton_trainer.worker"], env=environment, stdout=log, stderr=log
        )


def _step(store: ObjectStore, job: str, *, attempt: int = 1) -> int:
    report = files.read_report(store, job, attempt)
    return report.progress.done if report and report.progress.phase == "training" else 0


def _rate(store: ObjectStore, job: str) -> float:
    """Steps a second, after a while in which blocks find their length."""
    time.sleep(MEASURED_SECONDS / 2)
    first, begun = _step(store, job), time.monotonic()
    time.sleep(MEASURED_SECONDS)
    return (_step(store, job) - first) / (time.monotonic() - begun)


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a worker did not get on with it")
        time.sleep(0.02)
