"""Small servicers behind a real server, as the other end of the SDK."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton.training.v1 import training_pb2, training_pb2_grpc
from lepton_common.errors import NotFound, WrongOffset
from lepton_common.server import Server, Service
from lepton_common.settings import ServerSettings
from lepton_sdk.addresses import Addresses
from lepton_sdk.client import Client

JOB = "trainingJobs/digits"


def addresses(address: str) -> Addresses:
    """Every service at one address."""
    return Addresses(**{field.name: address for field in fields(Addresses)})


def training_job(state: str, **status: Any) -> training_pb2.TrainingJob:
    """The job in a state, such as "RUNNING"."""
    value = job_pb2.JobState.Value(f"JOB_STATE_{state}")
    return training_pb2.TrainingJob(
        name=JOB,
        status=job_pb2.JobStatus(state=value, **status),
        model_version="models/digits/versions/1" if state == "SUCCEEDED" else "",
    )


class Training(training_pb2_grpc.TrainingServiceServicer):
    """Knows one job, whose life a test writes, and makes every other one that is asked for."""

    def __init__(self) -> None:
        self.life: list[training_pb2.TrainingJob] = [training_job("RUNNING"), training_job("SUCCEEDED")]
        self.pause: Callable[[int], Awaitable[object]] | None = None
        """Awaited before each step of the life."""
        self.watches = 0
        self.broken_off = threading.Event()
        self.made: dict[str, training_pb2.TrainingJob] = {}
        """Jobs by the id of the request that made them."""

    async def CreateTrainingJob(
        self, request: training_pb2.CreateTrainingJobRequest, context: object
    ) -> training_pb2.CreateTrainingJobResponse:
        if request.request_id not in self.made:
            job = training_pb2.TrainingJob()
            job.CopyFrom(request.training_job)
            job.name = f"trainingJobs/{request.training_job_id}"
            job.status.state = job_pb2.JOB_STATE_QUEUED
            self.made[request.request_id] = job
        return training_pb2.CreateTrainingJobResponse(training_job=self.made[request.request_id])

    async def GetTrainingJob(
        self, request: training_pb2.GetTrainingJobRequest, context: object
    ) -> training_pb2.GetTrainingJobResponse:
        if request.name != JOB:
            raise NotFound(f"there is no {request.name}")
        return training_pb2.GetTrainingJobResponse(training_job=self.life[-1])

    async def ReadTrainingJobLogs(
        self, request: training_pb2.ReadTrainingJobLogsRequest, context: object
    ) -> AsyncIterator[training_pb2.ReadTrainingJobLogsResponse]:
        for worker in (0, 1):
            yield training_pb2.ReadTrainingJobLogsResponse(
                worker=f"attempt 1, worker {worker}", text=f"{request.name} is trained\n"
            )

    async def ListTrainingJobs(
        self, request: training_pb2.ListTrainingJobsRequest, context: object
    ) -> training_pb2.ListTrainingJobsResponse:
        # Three pages of many.
        page = int(request.page_token or 0)
        jobs = [training_pb2.TrainingJob(name=f"trainingJobs/job-{page}-{n}") for n in range(1000)]
        following = str(page + 1) if page < 2 else ""
        return training_pb2.ListTrainingJobsResponse(training_jobs=jobs, next_page_token=following)

    async def WatchTrainingJob(
        self, request: training_pb2.WatchTrainingJobRequest, context: object
    ) -> AsyncIterator[training_pb2.WatchTrainingJobResponse]:
        self.watches += 1
        made = {job.name: job for job in self.made.values()}
        if request.name not in {JOB, *made}:
            raise NotFound(f"there is no {request.name}")
        try:
            for number, job in enumerate(self.life):
                if self.pause is not None:
                    await self.pause(number)
                if request.name in made:
                    made[request.name].status.CopyFrom(job.status)
                    made[request.name].model_version = job.model_version
                    job = made[request.name]
                yield training_pb2.WatchTrainingJobResponse(training_job=job)
        except asyncio.CancelledError:
            self.broken_off.set()
            raise


class Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    """Takes one file, and has the trouble with it that a test wants."""

    def __init__(self) -> None:
        self.upload = dataset_pb2.Upload()
        self.content = bytearray()
        self.offsets: list[int] = []
        """Where each stream began."""
        self.trouble: Callable[[], Awaitable[object]] | None = None
        """Awaited for each piece, before it is taken."""
        self.latest = dataset_pb2.DatasetVersion()

    async def CreateUpload(
        self, request: dataset_pb2.CreateUploadRequest, context: object
    ) -> dataset_pb2.CreateUploadResponse:
        self.upload.MergeFrom(request.upload)
        self.upload.name = f"{request.parent}/uploads/1"
        return dataset_pb2.CreateUploadResponse(upload=self.upload)

    async def GetUpload(
        self, request: dataset_pb2.GetUploadRequest, context: object
    ) -> dataset_pb2.GetUploadResponse:
        self.upload.committed_size = len(self.content)
        return dataset_pb2.GetUploadResponse(upload=self.upload)

    async def WriteUpload(
        self, requests: AsyncIterator[dataset_pb2.WriteUploadRequest], context: object
    ) -> dataset_pb2.WriteUploadResponse:
        first = True
        async for request in requests:
            if first:
                self.offsets.append(request.offset)
                first = False
            if self.trouble is not None:
                await self.trouble()
            if request.offset != len(self.content):
                raise WrongOffset(f"go on at byte {len(self.content)}")
            self.content += request.data
            self.upload.complete = request.finish
        self.upload.committed_size = len(self.content)
        return dataset_pb2.WriteUploadResponse(upload=self.upload)

    async def GetDatasetVersion(
        self, request: dataset_pb2.GetDatasetVersionRequest, context: object
    ) -> dataset_pb2.GetDatasetVersionResponse:
        return dataset_pb2.GetDatasetVersionResponse(dataset_version=self.latest)


class Models(model_pb2_grpc.ModelServiceServicer):
    """Knows some versions of one model, and the bytes of their files."""

    def __init__(self) -> None:
        self.versions: dict[str, model_pb2.ModelVersion] = {}
        self.files: dict[str, bytes] = {}
        """By path, of every version that has such a file."""
        self.trouble: Callable[[], Awaitable[object]] | None = None
        """Awaited after the first piece of a file."""

    async def GetModelVersion(
        self, request: model_pb2.GetModelVersionRequest, context: object
    ) -> model_pb2.GetModelVersionResponse:
        if request.name not in self.versions:
            raise NotFound(f"there is no {request.name}")
        return model_pb2.GetModelVersionResponse(model_version=self.versions[request.name])

    async def ListModelVersions(
        self, request: model_pb2.ListModelVersionsRequest, context: object
    ) -> model_pb2.ListModelVersionsResponse:
        return model_pb2.ListModelVersionsResponse(model_versions=self.versions.values())

    async def ReadModelFile(
        self, request: model_pb2.ReadModelFileRequest, context: object
    ) -> AsyncIterator[model_pb2.ReadModelFileResponse]:
        data = self.files[request.path]
        middle = len(data) // 2
        yield model_pb2.ReadModelFileResponse(data=data[:middle])
        if self.trouble is not None:
            await self.trouble()
        yield model_pb2.ReadModelFileResponse(data=data[middle:])


@pytest.fixture
def models() -> Models:
    return Models()  # type: ignore[abstract]


@pytest.fixture
def training() -> Training:
    return Training()  # type: ignore[abstract]  # Nothing else is asked of it.


@pytest.fixture
def datasets() -> Datasets:
    return Datasets()  # type: ignore[abstract]


@pytest.fixture
def services(training: Training, datasets: Datasets, models: Models) -> list[Service]:
    return [
        Service(
            descriptor=training_pb2.DESCRIPTOR.services_by_name["TrainingService"],
            add=training_pb2_grpc.add_TrainingServiceServicer_to_server,
            servicer=training,
        ),
        Service(
            descriptor=dataset_pb2.DESCRIPTOR.services_by_name["DatasetService"],
            add=dataset_pb2_grpc.add_DatasetServiceServicer_to_server,
            servicer=datasets,
        ),
        Service(
            descriptor=model_pb2.DESCRIPTOR.services_by_name["ModelService"],
            add=model_pb2_grpc.add_ModelServiceServicer_to_server,
            servicer=models,
        ),
    ]


@pytest.fixture
async def cleanup() -> AsyncIterator[contextlib.AsyncExitStack]:
    async with contextlib.AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def start(
    services: list[Service], cleanup: contextlib.AsyncExitStack
) -> Callable[..., Awaitable[Server]]:
    """Starts servers of the servicers with the settings given; they end with the test."""

    async def starter(**settings: Any) -> Server:
        checked = ServerSettings.model_validate({"drain_seconds": 0, **settings})
        return await cleanup.enter_async_context(Server(checked, services))

    return starter


@pytest.fixture
async def server(start: Callable[..., Awaitable[Server]]) -> Server:
    return await start()


@pytest.fixture
async def client(server: Server, cleanup: contextlib.AsyncExitStack) -> Client:
    return await cleanup.enter_async_context(Client(addresses(server.address)))


@pytest.fixture
def endpoints(services: list[Service], tmp_path: Path) -> Iterator[Path]:
    """The `endpoints.json` of a server in a thread of its own, for what blocks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()
    server = Server(ServerSettings(drain_seconds=0), services)
    try:
        address = asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        addresses(address).write(tmp_path / "endpoints.json")
        yield tmp_path / "endpoints.json"
    finally:
        asyncio.run_coroutine_threadsafe(server.drain(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def dead_address() -> Iterator[str]:
    """An address where nobody answers."""
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"
