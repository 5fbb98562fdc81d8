"""What the tests of this folder do to a cluster, and see of it."""

import asyncio
import re
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2
from lepton_common.errors import Cancelled, DeadlineExceeded, DependencyUnavailable, NotFound
from lepton_sdk.addresses import Addresses
from lepton_sdk.client import Client

from ..cluster import Namespace

NAMESPACE = "lepton-test"
MANIFESTS = Path(__file__).parent / "manifests"
SERVICES = {"trainer": "trainer", "registry": "registry", "data_ingest": "data-ingest"}
EPOCHS = 60
READY_SECONDS = 180

T = TypeVar("T")


def kubectl(*arguments: str, given: str = "") -> str:
    """What kubectl prints about the tests' namespace."""
    return Namespace(NAMESPACE).kubectl(*arguments, given=given)


def objects(kind: str, *arguments: str) -> list[dict[str, Any]]:
    """Objects of the tests' namespace."""
    return Namespace(NAMESPACE).objects(kind, *arguments)


def pods_of(job: str, *, phase: str = "") -> list[dict[str, Any]]:
    """The pods of a training job, by its id; those in one phase, and not being deleted, if that is given."""
    pods = objects("pods", "--selector", f"lepton.dev/training-job={job}")
    return [
        pod
        for pod in pods
        if not phase or (pod["status"]["phase"] == phase and "deletionTimestamp" not in pod["metadata"])
    ]


class Lepton:
    """A client of the services, through forwarded ports that are opened anew when a pod behind one goes."""

    def __init__(self) -> None:
        self._forwards: dict[str, tuple[subprocess.Popen[str], int]] = {}

    async def call(self, work: Callable[[Client], Awaitable[T]], *, seconds: float = 60) -> T:
        """Do some calls, again while the services do not answer."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                async with Client(self._addresses()) as client:
                    return await work(client)
            except (Cancelled, DeadlineExceeded, DependencyUnavailable):
                # The pod behind a port went, in the middle of a call or before it. A port may also just
                # fall silent.
                if time.monotonic() > deadline:
                    raise
                self.close()
                await asyncio.sleep(0.5)

    async def start(self, job: str, spec: training_pb2.TrainingSpec) -> None:
        """Start a training."""
        await self.call(lambda client: client.training.create(job, spec, request_id=job))

    async def get(self, job: str) -> training_pb2.TrainingJob:
        """A training job as it is now."""
        return await self.call(lambda client: client.training.get(f"trainingJobs/{job}"))

    async def adopted(self, job: str, *, seconds: float = 60) -> None:
        """Wait until a Job that was applied is known as a training job."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                await self.get(job)
            except NotFound:
                assert time.monotonic() < deadline, f"{job} is not taken over"
                await asyncio.sleep(0.5)
            else:
                return

    async def wait(
        self, job: str, until: Callable[[training_pb2.TrainingJob], bool], *, seconds: float = 300
    ) -> training_pb2.TrainingJob:
        """Wait until a training job is as wanted."""
        deadline = time.monotonic() + seconds
        while not until(found := await self.get(job)):
            assert time.monotonic() < deadline, f"{job} is still {found.status}"
            await asyncio.sleep(0.5)
        return found

    async def ended(self, job: str, *, seconds: float = 300) -> training_pb2.TrainingJob:
        """Wait until a training job has ended."""
        return await self.wait(job, has_ended, seconds=seconds)

    async def at_work(self, job: str, *, attempt: int = 1, seconds: float = 180) -> training_pb2.TrainingJob:
        """Wait until an attempt of a training is some steps on its way."""
        return await self.wait(job, lambda found: _trains(found, attempt), seconds=seconds)

    async def digest(self, job: training_pb2.TrainingJob) -> str:
        """The digest of the Keras file that a training job made."""
        version = await self.call(lambda client: client.models.get_version(job.model_version))
        return next(file.sha256 for file in version.files if file.path.endswith(".keras"))

    def close(self) -> None:
        """Close the forwarded ports."""
        for process, _ in self._forwards.values():
            _end(process)
        self._forwards.clear()

    def _addresses(self) -> Addresses:
        for service in SERVICES.values():
            if service in self._forwards and self._forwards[service][0].poll() is not None:
                _end(self._forwards.pop(service)[0])
            if service not in self._forwards:
                self._forwards[service] = _forward(service)
        ports = {field: f"127.0.0.1:{self._forwards[service][1]}" for field, service in SERVICES.items()}
        return Addresses(compressor="", inference="", rl_agent="", **ports)


def _forward(service: str) -> tuple[subprocess.Popen[str], int]:
    """Forward a port of this machine to a service."""
    command = ["kubectl", "--namespace", NAMESPACE, "port-forward", f"service/{service}", ":7000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None, "it is a pipe"
    told = process.stdout.readline()
    port = re.search(r"127\.0\.0\.1:(\d+)", told)
    if port is None:
        _end(process)
        raise DependencyUnavailable(f"no pod of {service} is ready")
    return process, int(port[1])


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def has_ended(job: training_pb2.TrainingJob) -> bool:
    """Whether a job is in a final state."""
    return job.status.state in (
        job_pb2.JOB_STATE_SUCCEEDED,
        job_pb2.JOB_STATE_FAILED,
        job_pb2.JOB_STATE_CANCELLED,
    )


def _trains(job: training_pb2.TrainingJob, attempt: int) -> bool:
    assert not has_ended(job), f"it has ended too early: {job.status}"
    progress = job.status.progress
    return job.status.attempt >= attempt and progress.phase == "training" and progress.done > 0


def digits_spec(
    *, epochs: int = EPOCHS, workers: int = 2, model: str = "digits", **fields: Any
) -> training_pb2.TrainingSpec:
    """A training of the digits; the same for the same arguments."""
    return training_pb2.TrainingSpec(
        dataset_version="datasets/digits/versions/1",
        model=f"models/{model}",
        cnn=training_pb2.Cnn(),
        max_epochs=epochs,
        convergence=training_pb2.Convergence(patience=epochs),
        workers=workers,
        **fields,
    )


def index_of(pod: dict[str, Any]) -> int:
    """Which worker a pod is."""
    return int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"])
