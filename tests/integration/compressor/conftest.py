"""A real compressor on loopback between a real registry and a dataset service of a few lines."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lepton.compression.v1 import compression_pb2, compression_pb2_grpc
from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.errors import NotFound
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.processes import ProcessLauncher, stop_all
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.rpc import connect, named_errors
from lepton_common.server import Server, Service
from lepton_common.settings import ServerSettings
from lepton_compressor.adapters.kind import CompressionKind
from lepton_compressor.adapters.sources import Sources
from lepton_compressor.api import CompressionServicer
from lepton_registry.api import services

DATASET = "datasets/digits/versions/2"
LINEAGE = (
    model_pb2.LineageNode(
        name="trainingJobs/digits", kind=model_pb2.LINEAGE_KIND_TRAINING_JOB, parents=[DATASET]
    ),
    model_pb2.LineageNode(
        name=DATASET, kind=model_pb2.LINEAGE_KIND_DATASET_VERSION, digest="cd" * 32, parents=["digits.npz"]
    ),
    model_pb2.LineageNode(name="digits.npz", kind=model_pb2.LINEAGE_KIND_SOURCE_FILE, digest="ef" * 32),
)


def artifact_file(path: str) -> model_pb2.ArtifactFile:
    """A file that nobody will read."""
    return model_pb2.ArtifactFile(path=path, sha256="ab" * 32, size_bytes=9, key=f"models/blobs/{'ab' * 32}")


class DatasetService(dataset_pb2_grpc.DatasetServiceServicer):
    """Knows the versions it is given."""

    def __init__(self) -> None:
        manifest = f"datasets/digits/manifests/{'cd' * 32}"
        self.versions = {
            DATASET: dataset_pb2.DatasetVersion(name=DATASET, digest="cd" * 32, manifest=manifest)
        }

    async def GetDatasetVersion(
        self, request: dataset_pb2.GetDatasetVersionRequest, context: object
    ) -> dataset_pb2.GetDatasetVersionResponse:
        if request.name not in self.versions:
            raise NotFound(f"{request.name!r} does not exist")
        return dataset_pb2.GetDatasetVersionResponse(dataset_version=self.versions[request.name])


@dataclass
class Neighbours:
    """The services that a compressor calls, each running or not."""

    records: ResourceStore
    objects: ObjectStore
    datasets: DatasetService = field(default_factory=DatasetService)
    addresses: dict[str, str] = field(default_factory=lambda: dict.fromkeys(("datasets", "registry"), ""))
    servers: dict[str, Server] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        """Start `datasets` or `registry`, at the address of the last time."""
        datasets = Service(
            descriptor=dataset_pb2.DESCRIPTOR.services_by_name["DatasetService"],
            add=dataset_pb2_grpc.add_DatasetServiceServicer_to_server,
            servicer=self.datasets,
        )
        offered = {"datasets": [datasets], "registry": services(self.records, self.objects)}[name]
        settings = ServerSettings(listen=self.addresses[name] or "127.0.0.1:0", drain_seconds=1)
        server = Server(settings, offered)
        self.addresses[name] = await server.start()
        self.servers[name] = server

    async def stop(self, name: str) -> None:
        """Stop `datasets` or `registry`."""
        await self.servers.pop(name).drain()

    async def register(self, model: str = "models/digits", **fields: Any) -> model_pb2.ModelVersion:
        """Register a trained version, as the trainer would where `fields` do not say otherwise."""
        given: dict[str, Any] = {
            "format": model_pb2.MODEL_FORMAT_KERAS,
            "files": [artifact_file("model.keras")],
            "lineage": LINEAGE,
            "parents": ["trainingJobs/digits"],
            **fields,
        }
        request = model_pb2.CreateModelVersionRequest(
            parent=model, model_version=model_pb2.ModelVersion(**given)
        )
        async with connect(self.addresses["registry"]) as channel:
            stub = model_pb2_grpc.ModelServiceStub(channel)
            return (await stub.CreateModelVersion(request, timeout=20)).model_version

    async def versions(self, model: str = "models/digits") -> list[model_pb2.ModelVersion]:
        """The versions of a model, newest first."""
        async with connect(self.addresses["registry"]) as channel:
            stub = model_pb2_grpc.ModelServiceStub(channel)
            request = model_pb2.ListModelVersionsRequest(parent=model)
            return [*(await stub.ListModelVersions(request, timeout=20)).model_versions]


@pytest.fixture
async def neighbours(tmp_path: Path) -> AsyncIterator[Neighbours]:
    """A registry without models and a dataset service, both running."""
    records = await ResourceStore.open(f"sqlite:///{tmp_path}/registry.db")
    found = Neighbours(records, ObjectStore(f"file://{tmp_path}/objects"))
    for name in ("datasets", "registry"):
        await found.start(name)
    yield found
    for name in list(found.servers):
        await found.stop(name)
    await found.records.close()


@dataclass(frozen=True)
class Compressor:
    """The stub of a compressor, and short ways to use it."""

    stub: "compression_pb2_grpc.CompressionServiceAsyncStub"
    objects: ObjectStore

    async def create(
        self, id: str = "small", *, request_id: str = "", labels: dict[str, str] | None = None, **spec: Any
    ) -> compression_pb2.CompressionJob:
        """Create a job on the first version of the digits, where `spec` does not say otherwise."""
        wanted = {"model_version": "models/digits/versions/1", **spec}
        request = compression_pb2.CreateCompressionJobRequest(
            compression_job_id=id,
            compression_job=compression_pb2.CompressionJob(
                spec=compression_pb2.CompressionSpec(**wanted), labels=labels
            ),
            request_id=request_id,
        )
        with named_errors():
            return (await self.stub.CreateCompressionJob(request, timeout=30)).compression_job

    async def get(self, job: compression_pb2.CompressionJob) -> compression_pb2.CompressionJob:
        """Read a job."""
        request = compression_pb2.GetCompressionJobRequest(name=job.name)
        with named_errors():
            return (await self.stub.GetCompressionJob(request, timeout=10)).compression_job

    async def cancel(self, job: compression_pb2.CompressionJob) -> compression_pb2.CompressionJob:
        """Cancel a job."""
        request = compression_pb2.CancelCompressionJobRequest(name=job.name)
        with named_errors():
            return (await self.stub.CancelCompressionJob(request, timeout=10)).compression_job

    async def delete(self, job: compression_pb2.CompressionJob, *, etag: str = "") -> None:
        """Delete a job."""
        request = compression_pb2.DeleteCompressionJobRequest(name=job.name, etag=etag)
        with named_errors():
            await self.stub.DeleteCompressionJob(request, timeout=20)

    async def watch(self, job: compression_pb2.CompressionJob) -> list[compression_pb2.CompressionJob]:
        """Watch a job to its end."""
        return [seen async for seen in self.follow(job)]

    async def at_work(self, job: compression_pb2.CompressionJob) -> compression_pb2.CompressionJob:
        """Wait until a worker has reported its work."""
        async for seen in self.follow(job):
            if seen.status.progress.phase:
                return seen
        raise AssertionError("the job ended before it was seen at work")

    async def follow(
        self, job: compression_pb2.CompressionJob, *, seconds: float = 60
    ) -> AsyncIterator[compression_pb2.CompressionJob]:
        """Yield a job now and after every change."""
        request = compression_pb2.WatchCompressionJobRequest(name=job.name)
        with named_errors():
            async for seen in self.stub.WatchCompressionJob(request, timeout=seconds):
                yield seen.compression_job


@asynccontextmanager
async def running(folder: Path, neighbours: Neighbours) -> AsyncIterator[Compressor]:
    """Run a compressor over the files in a folder."""
    async with AsyncExitStack() as stack:
        store = await ResourceStore.open(f"sqlite:///{folder}/compressor.db")
        stack.push_async_callback(store.close)
        objects = ObjectStore(f"file://{folder}/objects")
        launcher = ProcessLauncher(folder / "run", grace_seconds=2)
        jobs = store.collection(compression_pb2.CompressionJob, index=life.index)
        to_datasets = await stack.enter_async_context(connect(neighbours.addresses["datasets"]))
        to_registry = await stack.enter_async_context(connect(neighbours.addresses["registry"]))
        models = model_pb2_grpc.ModelServiceStub(to_registry)
        sources = Sources(models, dataset_pb2_grpc.DatasetServiceStub(to_datasets))
        controller = Controller(
            CompressionKind(jobs, objects, sources=sources, models=models, worker="quick_compressor"),
            launcher,
            objects,
            object_store_url=objects.url,
            poll_seconds=0.1,
        )
        service = Service(
            descriptor=compression_pb2.DESCRIPTOR.services_by_name["CompressionService"],
            add=compression_pb2_grpc.add_CompressionServiceServicer_to_server,
            servicer=CompressionServicer(
                jobs, sources, controller=controller, launcher=launcher, objects=objects
            ),
        )
        server = Server(ServerSettings(drain_seconds=1), [service], tasks=[controller.run])
        await stack.enter_async_context(server)
        channel = await stack.enter_async_context(connect(server.address))
        yield Compressor(compression_pb2_grpc.CompressionServiceStub(channel), objects)


@pytest.fixture
async def compressor(
    tmp_path: Path, neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Compressor]:
    """A compressor with an empty store, whose workers take no time."""
    programs = str(Path(__file__).parent / "programs")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([programs, os.environ.get("PYTHONPATH", "")]))
    async with running(tmp_path, neighbours) as found:
        yield found
    await asyncio.to_thread(stop_all, tmp_path / "run", grace_seconds=0)
