"""A real server with a small servicer, as the subject of what happens around every call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton.dataset.v1 import dataset_pb2_grpc
from lepton_common.request_id import REQUEST_ID
from lepton_common.rpc import connect
from lepton_common.server import Background, Ready, Server, Service
from lepton_common.settings import ClientSettings, ServerSettings

Stub = Any


class Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    """Answers as a test tells it to, and remembers how its calls went."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Callable[[], Awaitable[object]]] = {}
        self.request_ids: list[str] = []
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    def on(self, name: str, behaviour: Callable[[], Awaitable[object]]) -> None:
        """Has the call about a dataset or version of this name await something before it answers."""
        self.behaviours[name] = behaviour

    async def _behave(self, name: str) -> None:
        self.request_ids.append(REQUEST_ID.get())
        self.begun.set()
        if behaviour := self.behaviours.get(name):
            try:
                await behaviour()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

    async def GetDataset(self, request: pb.GetDatasetRequest, context: object) -> pb.GetDatasetResponse:
        await self._behave(request.name)
        return pb.GetDatasetResponse(dataset=pb.Dataset(name=request.name))

    async def DeleteDataset(
        self, request: pb.DeleteDatasetRequest, context: object
    ) -> pb.DeleteDatasetResponse:
        await self._behave(request.name)
        return pb.DeleteDatasetResponse()

    async def WriteUpload(
        self, requests: AsyncIterator[pb.WriteUploadRequest], context: object
    ) -> pb.WriteUploadResponse:
        upload = pb.Upload()
        async for request in requests:
            await self._behave(request.name)
            upload.committed_size += len(request.data)
        return pb.WriteUploadResponse(upload=upload)

    async def WatchDatasetVersion(
        self, request: pb.WatchDatasetVersionRequest, context: object
    ) -> AsyncIterator[pb.WatchDatasetVersionResponse]:
        for number in range(3):
            version = pb.DatasetVersion(name=request.name, rejected=number)
            yield pb.WatchDatasetVersionResponse(dataset_version=version)
        await self._behave(request.name)


@dataclass(frozen=True)
class Subject:
    """A servicer and the service it stands for."""

    datasets: Datasets
    service: Service


@pytest.fixture
async def subject() -> Callable[[], Subject]:
    """Makes one subject after another, each with a memory of its own."""

    def make() -> Subject:
        datasets = Datasets()  # type: ignore[abstract]  # What it leaves out is a subject too.
        service = Service(
            descriptor=pb.DESCRIPTOR.services_by_name["DatasetService"],
            add=dataset_pb2_grpc.add_DatasetServiceServicer_to_server,
            servicer=datasets,
        )
        return Subject(datasets, service)

    return make


@pytest.fixture
async def first(subject: Callable[[], Subject]) -> Subject:
    """The subject of servers that are started without a service of their own."""
    return subject()


@pytest.fixture
async def datasets(first: Subject) -> Datasets:
    """The servicer behind `stub`."""
    return first.datasets


@pytest.fixture
async def cleanup() -> AsyncIterator[contextlib.AsyncExitStack]:
    async with contextlib.AsyncExitStack() as stack:
        yield stack


# What carries the calls of servers, as they take it: whatever is true of one is true of the others.
TRANSPORTS: dict[str, dict[str, Any]] = {
    "grpc": {"transport": "grpc"},
    "http2": {"transport": "http2"},
    "http2 with workers": {"transport": "http2", "workers": 2},
}


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """The name of one."""
    name: str = request.param
    return name


@pytest.fixture
async def start(
    first: Subject, cleanup: contextlib.AsyncExitStack, transport: str
) -> Callable[..., Awaitable[Server]]:
    """Starts servers on loopback with the settings given; they end with the test."""

    async def starter(
        *services: Service,
        tasks: Sequence[Background] = (),
        ready: Ready | None = None,
        lost: Ready | None = None,
        **settings: Any,
    ) -> Server:
        server = Server(
            ServerSettings.model_validate({"drain_seconds": 2, **settings}),
            services or [first.service],
            tasks=tasks,
            ready=ready,
            lost=lost,
            **TRANSPORTS[transport],
        )
        return await cleanup.enter_async_context(server)

    return starter


@pytest.fixture
async def stub_to(cleanup: contextlib.AsyncExitStack) -> Callable[..., Awaitable[Stub]]:
    """Opens channels to an address; they close with the test."""

    async def opener(address: str, **settings: Any) -> Stub:
        channel = connect(address, settings=ClientSettings.model_validate(settings) if settings else None)
        return dataset_pb2_grpc.DatasetServiceStub(await cleanup.enter_async_context(channel))

    return opener


@pytest.fixture
async def stub(start: Callable[..., Awaitable[Server]], stub_to: Callable[..., Awaitable[Stub]]) -> Stub:
    """A stub of a server with the default settings."""
    return await stub_to((await start()).address)
