"""A data-ingest service as a process of its own, and a client of it."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.rpc import status_pb2

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton.dataset.v1 import dataset_pb2_grpc
from lepton.job.v1 import job_pb2
from lepton_common.errors import LeptonError
from lepton_common.jobs.job import is_final
from lepton_common.jobs.processes import stop_all
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect, from_rpc_error
from lepton_common.status import from_status

T = TypeVar("T")

READY_SECONDS = 60.0


class Ingest:
    """One data-ingest service, its stores in a folder; it can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.objects = ObjectStore(f"file://{home}/objects")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens; at the same address as before."""
        address_file = self.home / "address"
        listen = address_file.read_text() if address_file.exists() else "127.0.0.1:0"
        address_file.unlink(missing_ok=True)
        environment = {
            "LEPTON_LISTEN": listen,
            "LEPTON_ADDRESS_FILE": str(address_file),
            "LEPTON_DATABASE_URL": f"sqlite://{self.home}/records.db",
            "LEPTON_OBJECT_STORE_URL": f"file://{self.home}/objects",
            "LEPTON_RUN_DIRECTORY": f"{self.home}/run",
        }
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lepton_data_ingest"],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not address_file.exists():
            assert self._process.poll() is None, (self.home / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    @property
    def address(self) -> str:
        """`host:port`."""
        return (self.home / "address").read_text()

    def kill(self) -> None:
        """End it without warning."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def workers(self) -> list[int]:
        """The processes that build versions."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{self.home}/run".encode() in environment and b"lepton_data_ingest.worker" in command:
                found.append(int(folder.name))
        return found

    def stop(self) -> None:
        """End it and its workers."""
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(30) == 0, (self.home / "log").read_text()
        stop_all(self.home / "run")


class Client:
    """Calls of the service, with named errors; `stub` has all of them."""

    def __init__(self, channel: grpc.aio.Channel, prefix: str) -> None:
        self.stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        self._prefix = prefix
        self._made = 0

    async def call(self, answer: Awaitable[T]) -> T:
        """What a call answers; its error as it is named."""
        try:
            return await answer
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def dataset(self, schema: pb.Schema | None = None) -> str:
        """The name of a new dataset."""
        self._made += 1
        request = pb.CreateDatasetRequest(
            dataset_id=f"{self._prefix}-{self._made}", dataset=pb.Dataset(schema=schema)
        )
        return (await self.call(self.stub.CreateDataset(request))).dataset.name

    async def announce(self, dataset: str, data: bytes, filename: str = "data", **facts: Any) -> pb.Upload:
        """An announced upload, of which nothing is written."""
        announced: dict[str, Any] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        upload = pb.Upload(filename=filename, **announced | facts)
        request = pb.CreateUploadRequest(parent=dataset, upload=upload)
        return (await self.call(self.stub.CreateUpload(request))).upload

    async def write(self, upload: pb.Upload, *pieces: tuple[int, bytes], finish: bool = False) -> pb.Upload:
        """Write pieces of (offset, bytes), the last with `finish`."""

        async def messages() -> AsyncIterator[pb.WriteUploadRequest]:
            for number, (offset, data) in enumerate(pieces):
                last = number == len(pieces) - 1
                yield pb.WriteUploadRequest(
                    name=upload.name, offset=offset, data=data, finish=finish and last
                )

        return (await self.call(self.stub.WriteUpload(messages()))).upload

    async def upload(self, dataset: str, data: bytes, filename: str = "data") -> str:
        """The name of a complete upload."""
        upload = await self.announce(dataset, data, filename)
        if not upload.complete:
            step = 1 << 20
            pieces = [(start, data[start : start + step]) for start in range(0, len(data), step)]
            upload = await self.write(upload, *pieces, finish=True)
        assert upload.complete
        return upload.name

    async def create(self, dataset: str, *uploads: str | pb.Source, **spec: Any) -> pb.DatasetVersion:
        """A queued version of these uploads."""
        sources = [pb.Source(upload=one) if isinstance(one, str) else one for one in uploads]
        request_id = spec.pop("request_id", "")
        version = pb.DatasetVersion(spec=pb.DatasetVersionSpec(sources=sources, **spec))
        request = pb.CreateDatasetVersionRequest(
            parent=dataset, dataset_version=version, request_id=request_id
        )
        return (await self.call(self.stub.CreateDatasetVersion(request))).dataset_version

    async def ended(self, name: str) -> pb.DatasetVersion:
        """A version when its job has ended."""
        version = pb.DatasetVersion()
        async for response in self.stub.WatchDatasetVersion(pb.WatchDatasetVersionRequest(name=name)):
            version = response.dataset_version
        assert is_final(version.status.state)
        return version

    async def build(self, dataset: str, *uploads: str | pb.Source, **spec: Any) -> pb.DatasetVersion:
        """A version that was built; raises the error of one that was not."""
        version = await self.ended((await self.create(dataset, *uploads, **spec)).name)
        if version.status.state == job_pb2.JOB_STATE_FAILED:
            raise error_of(version.status.error)
        assert version.status.state == job_pb2.JOB_STATE_SUCCEEDED
        return version


def error_of(status: status_pb2.Status) -> LeptonError:
    """The named error in a job's status."""
    return from_status(status)


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """A service that all tests of a module use."""
    service = Ingest(tmp_path_factory.mktemp("ingest"))
    service.start()
    yield service
    service.stop()


@pytest.fixture
def own_ingest(tmp_path: Path) -> Iterator[Ingest]:
    """A service for one test, to be killed."""
    service = Ingest(tmp_path)
    service.start()
    yield service
    service.stop()


@pytest.fixture
async def client(ingest: Ingest, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of the module's service, with datasets of the test's own."""
    prefix = f"t{abs(hash(request.node.nodeid)):x}"[:12]
    async with connect(ingest.address) as channel:
        yield Client(channel, prefix)


@pytest.fixture
async def own_client(own_ingest: Ingest) -> AsyncIterator[Client]:
    """A client of the test's own service."""
    async with connect(own_ingest.address) as channel:
        yield Client(channel, "own")
