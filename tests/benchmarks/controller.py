"""How the trainer keeps up with a thousand training Jobs on a thousand nodes that only the API server knows.

    make bench-controller

`KUBECONFIG` names a cluster with simulated nodes, tainted `lepton.dev/simulated`. The services are real
processes beside it. A simulated pod runs for some seconds and does nothing, so this program writes what its
worker would have written. Measured are how long a job's end is told after a watch of the cluster has shown
that of its Job, and the memory of the trainer. Prints a table and writes `build/bench/controller.json`.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sklearn.datasets import load_digits

from lepton.dataset.v1 import dataset_pb2
from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2
from lepton_common.jobs import files
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_sdk.addresses import Addresses
from lepton_sdk.client import Client

JOBS = int(os.environ.get("LEPTON_BENCH_JOBS", "1000"))
SECONDS = 60
NAMESPACE = f"lepton-bench-{os.getpid()}"
MOST_LAG, MEDIAN_LAG, MOST_MEMORY = 5.0, 1.0, 300.0

TEMPLATE = f"""
apiVersion: batch/v1
kind: Job
spec:
  template:
    metadata:
      annotations: {{lepton.dev/simulated-seconds: "{SECONDS}"}}
    spec:
      tolerations: [{{operator: Exists}}]
      nodeSelector: {{type: simulated}}
      containers:
        - name: worker
          image: localhost/none
          resources: {{limits: {{nvidia.com/gpu: 1}}}}
"""


async def main() -> None:
    """Measure, print, write."""
    _kubectl("create", "namespace", NAMESPACE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with _services(Path(folder)) as (client, trainer, objects):
                records = await _measure(client, trainer, objects)
    finally:
        _kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    for record in records:
        print(f"{record['name']:45} {record['value']:10.2f} {record['unit']}")
    target = Path("build/bench/controller.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


async def _measure(client: Client, trainer: psutil.Process, objects: ObjectStore) -> list[dict[str, Any]]:
    with _watching() as done:
        return await _run(client, trainer, objects, done)


async def _run(
    client: Client, trainer: psutil.Process, objects: ObjectStore, done: dict[str, float]
) -> list[dict[str, Any]]:
    started = time.monotonic()
    spec = training_pb2.TrainingSpec(
        dataset_version="datasets/digits/versions/1", model="models/digits", mlp=training_pb2.Mlp()
    )
    jobs = [await client.training.create(f"job-{number:04}", spec) for number in range(JOBS)]
    accepted = time.monotonic() - started
    for job in jobs:
        await asyncio.to_thread(_do_the_work, objects, f"{job.name}/{job.uid}")
    most_memory = 0.0
    while True:
        most_memory = max(most_memory, trainer.memory_info().rss / 2**20)
        found = await client.training.list()
        ended = [job for job in found if job.status.HasField("end_time")]
        print(f"{len(ended)} of {JOBS} jobs have ended", file=sys.stderr)
        if len(ended) == JOBS:
            break
        await asyncio.sleep(5)
    took = time.monotonic() - started
    told = {job.name.split("/")[1]: job.status.end_time.ToNanoseconds() / 1e9 for job in ended}
    lags = [told[name] - done[name] for name in told]
    wrong = sum(job.status.state != job_pb2.JOB_STATE_SUCCEEDED for job in ended)
    return [
        _record("jobs", JOBS, "jobs"),
        _record("accepting them", JOBS / accepted, "jobs/s"),
        _record("from the first to the last", took, "s"),
        _record("jobs in a wrong state", wrong, "jobs", bar=0),
        _record("told after the cluster, median", statistics.median(lags), "s", bar=MEDIAN_LAG),
        _record("told after the cluster, most", max(lags), "s", bar=MOST_LAG),
        _record("memory of the trainer, most", most_memory, "MiB", bar=MOST_MEMORY),
    ]


def _record(name: str, value: float, unit: str, *, bar: float | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "bar": bar, "holds": bar is None or value <= bar}


def _do_the_work(objects: ObjectStore, key: str) -> None:
    """Write what the worker of a job would have written."""
    files.claim_attempt(objects, key, key)
    blob = put_blob(objects, "models", key.encode())
    made = {"path": "model.keras", "sha256": blob.sha256, "size_bytes": blob.size_bytes, "key": blob.key}
    output: dict[str, Any] = {"files": [made], "signature": {"inputs": [], "outputs": []}, "metrics": {}}
    files.write_outcome(objects, key, 1, outcome=files.Outcome(output=output))


@contextlib.contextmanager
def _watching() -> Iterator[dict[str, float]]:
    """Fill in when a watch shows the end of each job's Job, Unix time: they tell whole seconds themselves."""
    done: dict[str, float] = {}
    columns = r'{.metadata.labels.lepton\.dev/training-job} {.status.completionTime}{"\n"}'
    command = ["kubectl", "get", "jobs", "--namespace", NAMESPACE, "--watch", f"--output=jsonpath={columns}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        lines = watch.stdout
        assert lines is not None, "it is a pipe"

        def read() -> None:
            for line in lines:
                job, _, completed = line.strip().partition(" ")
                if completed:
                    done.setdefault(job, time.time())

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield done
        finally:
            watch.terminate()
            reader.join()


@contextlib.asynccontextmanager
async def _services(folder: Path) -> AsyncIterator[tuple[Client, psutil.Process, ObjectStore]]:
    """A registry, a data-ingest service with the digits, and a trainer."""
    (folder / "job.yaml").write_text(TEMPLATE)
    with contextlib.ExitStack() as stack:
        registry = _start(stack, folder, "registry")
        data_ingest = _start(stack, folder, "data_ingest", LEPTON_RUN_DIRECTORY=str(folder / "run"))
        trainer = _start(
            stack,
            folder,
            "trainer",
            LEPTON_DATA_INGEST_ADDRESS=_address(folder, "data_ingest"),
            LEPTON_REGISTRY_ADDRESS=_address(folder, "registry"),
            LEPTON_JOB_TEMPLATE=str(folder / "job.yaml"),
            LEPTON_NAMESPACE=NAMESPACE,
        )
        assert registry.is_running() and data_ingest.is_running()
        addresses = Addresses(
            data_ingest=_address(folder, "data_ingest"),
            registry=_address(folder, "registry"),
            trainer=_address(folder, "trainer"),
            compressor="127.0.0.1:1",
            inference="127.0.0.1:1",
            rl_agent="127.0.0.1:1",
        )
        async with Client(addresses) as client:
            await _push_digits(client, folder)
            yield client, trainer, ObjectStore(f"file://{folder}/objects")


def _start(stack: contextlib.ExitStack, folder: Path, name: str, **settings: str) -> psutil.Process:
    environment = {
        **os.environ,
        "LEPTON_DATABASE_URL": f"sqlite:///{folder}/{name}.db",
        "LEPTON_OBJECT_STORE_URL": f"file://{folder}/objects",
        "LEPTON_ADDRESS_FILE": str(folder / f"{name}.address"),
        "LEPTON_LOG_LEVEL": "WARNING",
        **settings,
    }
    process = subprocess.Popen([sys.executable, "-m", f"lepton_{name}"], env=environment)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return psutil.Process(process.pid)


def _address(folder: Path, name: str) -> str:
    path = folder / f"{name}.address"
    while not path.exists():
        time.sleep(0.1)
    return path.read_text().strip()


async def _push_digits(client: Client, folder: Path) -> None:
    digits = load_digits()
    path = folder / "digits.npz"
    np.savez_compressed(path, image=digits.images.astype(np.uint8)[..., np.newaxis], label=digits.target)
    await client.datasets.create("digits")
    upload = await client.datasets.upload("datasets/digits", path)
    spec = dataset_pb2.DatasetVersionSpec(
        sources=[dataset_pb2.Source(upload=upload.name)], schema=dataset_pb2.Schema(label="label")
    )
    version = await client.datasets.create_version("datasets/digits", spec)
    async with contextlib.aclosing(client.datasets.watch_version(version.name)) as watched:
        async for _ in watched:
            pass


def _kubectl(*arguments: str) -> str:
    return subprocess.run(["kubectl", *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    asyncio.run(main())
