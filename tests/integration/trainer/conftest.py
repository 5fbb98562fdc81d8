"""A real trainer on loopback between a dataset service and a model service of a few lines each."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton.training.v1 import study_pb2, study_pb2_grpc, training_pb2, training_pb2_grpc
from lepton_common.errors import NotFound
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.processes import ProcessLauncher, stop_all
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.rpc import connect, named_errors
from lepton_common.server import Server, Service
from lepton_common.settings import ServerSettings
from lepton_trainer.adapters.acceptance import Acceptance
from lepton_trainer.adapters.datasets import Datasets
from lepton_trainer.adapters.kind import TrainingKind
from lepton_trainer.adapters.ledger import Ledger
from lepton_trainer.adapters.models import Models
from lepton_trainer.adapters.search import StudySearch
from lepton_trainer.adapters.study_controller import StudyController
from lepton_trainer.api import StudyServicer, TrainingServicer

DIGITS = dataset_pb2.DatasetVersion(
    name="datasets/digits/versions/2",
    status=job_pb2.JobStatus(state=job_pb2.JOB_STATE_SUCCEEDED),
    schema=dataset_pb2.Schema(
        columns=[
            dataset_pb2.Column(name="image", type=dataset_pb2.COLUMN_TYPE_IMAGE, shape=[8, 8, 1]),
            dataset_pb2.Column(name="digit", type=dataset_pb2.COLUMN_TYPE_INTEGER),
        ],
        label="digit",
    ),
    counts=dataset_pb2.SplitCounts(train=1437, validation=180, test=180),
    digest="cd" * 32,
    manifest=f"datasets/digits/manifests/{'cd' * 32}",
    source_files=[
        dataset_pb2.SourceFile(
            upload="datasets/digits/uploads/a", filename="digits.npz", sha256="ef" * 32, size_bytes=9
        )
    ],
)
BUILDING = dataset_pb2.DatasetVersion(
    name="datasets/digits/versions/3", status=job_pb2.JobStatus(state=job_pb2.JOB_STATE_RUNNING)
)

ARCHITECTURES = {
    field.name for field in training_pb2.TrainingSpec.DESCRIPTOR.oneofs_by_name["architecture"].fields
}


class DatasetService(dataset_pb2_grpc.DatasetServiceServicer):
    """Knows the versions it is given; `latest` is the first of them."""

    def __init__(self) -> None:
        self.versions = {version.name: version for version in (DIGITS, BUILDING)}

    async def GetDatasetVersion(
        self, request: dataset_pb2.GetDatasetVersionRequest, context: object
    ) -> dataset_pb2.GetDatasetVersionResponse:
        name = DIGITS.name if request.name == "datasets/digits/versions/latest" else request.name
        if name not in self.versions:
            raise NotFound(f"{name!r} does not exist")
        return dataset_pb2.GetDatasetVersionResponse(dataset_version=self.versions[name])

    async def GetDataset(
        self, request: dataset_pb2.GetDatasetRequest, context: object
    ) -> dataset_pb2.GetDatasetResponse:
        for name, version in self.versions.items():
            if name.startswith(f"{request.name}/"):
                dataset = dataset_pb2.Dataset(name=request.name)
                if version.HasField("privacy_budget"):
                    dataset.privacy_budget.CopyFrom(version.privacy_budget)
                return dataset_pb2.GetDatasetResponse(dataset=dataset)
        raise NotFound(f"{request.name!r} does not exist")


class ModelService(model_pb2_grpc.ModelServiceServicer):
    """Numbers versions by request id."""

    def __init__(self) -> None:
        self.versions: dict[str, model_pb2.ModelVersion] = {}

    async def GetModelVersion(
        self, request: model_pb2.GetModelVersionRequest, context: object
    ) -> model_pb2.GetModelVersionResponse:
        parent, _, number = request.name.partition("/versions/")
        own = [one for one in self.versions.values() if one.name.startswith(f"{parent}/versions/")]
        for version in reversed(own):
            if number == "latest" or version.name == request.name:
                return model_pb2.GetModelVersionResponse(model_version=version)
        raise NotFound(f"{request.name!r} does not exist")

    async def CreateModelVersion(
        self, request: model_pb2.CreateModelVersionRequest, context: object
    ) -> model_pb2.CreateModelVersionResponse:
        version = self.versions.setdefault(request.request_id, request.model_version)
        version.name = version.name or f"{request.parent}/versions/{len(self.versions)}"
        return model_pb2.CreateModelVersionResponse(model_version=version)


@dataclass
class Neighbours:
    """The services that a trainer calls, each running or not."""

    datasets: DatasetService = field(default_factory=DatasetService)
    models: ModelService = field(default_factory=ModelService)
    addresses: dict[str, str] = field(default_factory=lambda: dict.fromkeys(("datasets", "models"), ""))
    servers: dict[str, Server] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        """Start `datasets` or `models`, at the address of the last time."""
        service = {
            "datasets": Service(
                descriptor=dataset_pb2.DESCRIPTOR.services_by_name["DatasetService"],
                add=dataset_pb2_grpc.add_DatasetServiceServicer_to_server,
                servicer=self.datasets,
            ),
            "models": Service(
                descriptor=model_pb2.DESCRIPTOR.services_by_name["ModelService"],
                add=model_pb2_grpc.add_ModelServiceServicer_to_server,
                servicer=self.models,
            ),
        }[name]
        listen = self.addresses[name] or "127.0.0.1:0"
        server = Server(ServerSettings(listen=listen, drain_seconds=1), [service])
        self.addresses[name] = await server.start()
        self.servers[name] = server

    async def stop(self, name: str) -> None:
        """Stop `datasets` or `models`."""
        await self.servers.pop(name).drain()


@pytest.fixture
async def neighbours() -> AsyncIterator[Neighbours]:
    """A dataset service and a model service, both running."""
    found = Neighbours()
    for name in ("datasets", "models"):
        await found.start(name)
    yield found
    for name in list(found.servers):
        await found.stop(name)


@dataclass(frozen=True)
class Trainer:
    """The stub of a trainer, and short ways to use it."""

    stub: "training_pb2_grpc.TrainingServiceAsyncStub"
    studies: "study_pb2_grpc.StudyServiceAsyncStub"
    objects: ObjectStore

    async def create(
        self, id: str = "digits", *, request_id: str = "", labels: dict[str, str] | None = None, **spec: Any
    ) -> training_pb2.TrainingJob:
        """Create a job that trains an MLP on the digits, where `spec` does not say otherwise."""
        wanted: dict[str, Any] = {
            "dataset_version": DIGITS.name,
            "model": "models/digits",
            **({} if spec.keys() & ARCHITECTURES else {"mlp": training_pb2.Mlp()}),
            **spec,
        }
        request = training_pb2.CreateTrainingJobRequest(
            training_job_id=id,
            training_job=training_pb2.TrainingJob(spec=training_pb2.TrainingSpec(**wanted), labels=labels),
            request_id=request_id,
        )
        with named_errors():
            return (await self.stub.CreateTrainingJob(request, timeout=30)).training_job

    async def get(self, job: training_pb2.TrainingJob) -> training_pb2.TrainingJob:
        """Read a job."""
        request = training_pb2.GetTrainingJobRequest(name=job.name)
        with named_errors():
            return (await self.stub.GetTrainingJob(request, timeout=10)).training_job

    async def cancel(self, job: training_pb2.TrainingJob) -> training_pb2.TrainingJob:
        """Cancel a job."""
        request = training_pb2.CancelTrainingJobRequest(name=job.name)
        with named_errors():
            return (await self.stub.CancelTrainingJob(request, timeout=10)).training_job

    async def suspend(self, job: training_pb2.TrainingJob, *, etag: str = "") -> training_pb2.TrainingJob:
        """Suspend a job."""
        request = training_pb2.SuspendTrainingJobRequest(name=job.name, etag=etag)
        with named_errors():
            return (await self.stub.SuspendTrainingJob(request, timeout=10)).training_job

    async def resume(self, job: training_pb2.TrainingJob, *, etag: str = "") -> training_pb2.TrainingJob:
        """Resume a job."""
        request = training_pb2.ResumeTrainingJobRequest(name=job.name, etag=etag)
        with named_errors():
            return (await self.stub.ResumeTrainingJob(request, timeout=10)).training_job

    async def delete(self, job: training_pb2.TrainingJob, *, etag: str = "") -> None:
        """Delete a job."""
        request = training_pb2.DeleteTrainingJobRequest(name=job.name, etag=etag)
        with named_errors():
            await self.stub.DeleteTrainingJob(request, timeout=20)

    async def watch(self, job: training_pb2.TrainingJob) -> list[training_pb2.TrainingJob]:
        """Watch a job to its end."""
        request = training_pb2.WatchTrainingJobRequest(name=job.name)
        with named_errors():
            return [seen.training_job async for seen in self.stub.WatchTrainingJob(request, timeout=60)]

    async def at_work(self, job: training_pb2.TrainingJob) -> training_pb2.TrainingJob:
        """Wait until a worker has reported its work."""
        request = training_pb2.WatchTrainingJobRequest(name=job.name)
        with named_errors():
            async for seen in self.stub.WatchTrainingJob(request, timeout=60):
                if seen.training_job.status.progress.phase == "training":
                    return seen.training_job
        raise AssertionError("the job ended before it was seen at work")


@asynccontextmanager
async def running(
    folder: Path, neighbours: Neighbours, *, worker: str = "quick_worker", max_running: int = 2
) -> AsyncIterator[Trainer]:
    """Run a trainer over the files in a folder; `worker` is the program that trains."""
    async with AsyncExitStack() as stack:
        store = await ResourceStore.open(f"sqlite:///{folder}/trainer.db")
        stack.push_async_callback(store.close)
        objects = ObjectStore(f"file://{folder}/objects")
        launcher = ProcessLauncher(folder / "run", grace_seconds=2)
        jobs = store.collection(training_pb2.TrainingJob, index=life.index)
        to_datasets = await stack.enter_async_context(connect(neighbours.addresses["datasets"]))
        to_models = await stack.enter_async_context(connect(neighbours.addresses["models"]))
        acceptance = Acceptance(
            datasets=Datasets(dataset_pb2_grpc.DatasetServiceStub(to_datasets)),
            models=Models(model_pb2_grpc.ModelServiceStub(to_models)),
        )
        controller = Controller(
            TrainingKind(
                jobs, objects, datasets=acceptance.datasets, models=acceptance.models, worker=worker
            ),
            launcher,
            objects,
            object_store_url=objects.url,
            poll_seconds=0.1,
            max_running=max_running,
        )
        studies = store.collection(study_pb2.Study, index=life.index)
        ledger = Ledger(store, jobs, store.collection(training_pb2.PrivacySpending))
        search = StudySearch(store, studies, jobs, objects=objects, acceptance=acceptance, ledger=ledger)
        study_controller = StudyController(search, studies, jobs, controller=controller, poll_seconds=0.1)
        training = Service(
            descriptor=training_pb2.DESCRIPTOR.services_by_name["TrainingService"],
            add=training_pb2_grpc.add_TrainingServiceServicer_to_server,
            servicer=TrainingServicer(
                jobs,
                acceptance,
                controller=controller,
                launcher=launcher,
                objects=objects,
                studies=studies,
                ledger=ledger,
            ),
        )
        searching = Service(
            descriptor=study_pb2.DESCRIPTOR.services_by_name["StudyService"],
            add=study_pb2_grpc.add_StudyServiceServicer_to_server,
            servicer=StudyServicer(
                studies,
                jobs,
                acceptance,
                controller=study_controller,
                launcher=launcher,
                objects=objects,
                ledger=ledger,
            ),
        )
        server = Server(
            ServerSettings(drain_seconds=1),
            [training, searching],
            tasks=[controller.run, study_controller.run],
        )
        await stack.enter_async_context(server)
        channel = await stack.enter_async_context(connect(server.address))
        yield Trainer(
            training_pb2_grpc.TrainingServiceStub(channel),
            study_pb2_grpc.StudyServiceStub(channel),
            objects,
        )


@pytest.fixture
async def trainer(
    tmp_path: Path, neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Trainer]:
    """A trainer with an empty store, whose workers take no time."""
    programs = str(Path(__file__).parent / "programs")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([programs, os.environ.get("PYTHONPATH", "")]))
    async with running(tmp_path, neighbours) as found:
        yield found
    await asyncio.to_thread(stop_all, tmp_path / "run", grace_seconds=0)
