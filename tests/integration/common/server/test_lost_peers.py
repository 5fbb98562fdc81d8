"""Servers that vanish without a word or are restarted in turn, and how often a client may ask for a sign."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton.dataset.v1 import dataset_pb2_grpc
from lepton_common.rpc import connect

PROGRAM = Path(__file__).parent / "programs" / "datasets_service.py"
GET = pb.GetDatasetRequest(name="datasets/digits")
# Large enough to be cut into many frames, small enough to be kept for another try.
LARGE = pb.GetDatasetRequest(name="datasets/" + "d" * 1_000_000)
CALLERS = 8


class Replica:
    """A service as a process, at the same address whenever it is started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._popen: subprocess.Popen[bytes] | None = None
        self.address = "127.0.0.1:0"
        folder.mkdir()

    def start(self) -> None:
        """Starts it and waits until it listens."""
        file = self._folder / "address"
        environment = {
            "LEPTON_LISTEN": self.address,
            "LEPTON_ADDRESS_FILE": str(file),
            "LEPTON_DATABASE_URL": "sqlite:////tmp/none.db",
            "ANSWER_SECONDS": "0.02",
        }
        with (self._folder / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, PROGRAM], env={**os.environ, **environment}, stderr=log
            )
        deadline = time.monotonic() + 60
        while not file.exists():
            assert self._popen.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.02)
        self.address = file.read_text()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, which a stopped process takes too."""
        assert self._popen is not None
        self._popen.send_signal(number)

    def stop(self) -> int:
        """Tells it to end; gives its exit status."""
        assert self._popen is not None
        self.send(signal.SIGTERM)
        return self._popen.wait(60)

    def kill(self) -> None:
        """Ends it."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Replica]]:
    """Two replicas that run."""
    made = [Replica(tmp_path / name) for name in ("a", "b")]
    for replica in made:
        replica.start()
    yield made
    for replica in made:
        replica.kill()


class Load:
    """Calls without a pause, and how long each took."""

    def __init__(self, stub: Any, request: pb.GetDatasetRequest) -> None:
        self.seconds: list[float] = []
        self._stub = stub
        self._request = request

    async def call_on(self) -> None:
        """Calls until cancelled; a call that fails ends the test."""
        while True:
            began = time.monotonic()
            answer = await self._stub.GetDataset(self._request)
            assert answer.dataset.name == self._request.name
            self.seconds.append(time.monotonic() - began)

    async def more(self, count: int) -> None:
        """Waits for so many more answers."""
        wanted = len(self.seconds) + count
        async with asyncio.timeout(60):
            while len(self.seconds) < wanted:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def load(
    replicas: list[Replica], request: pb.GetDatasetRequest = GET, *, lost_seconds: float = 1.6
) -> AsyncIterator[Load]:
    """Calls from several callers at once while the block runs; each call has a minute."""
    target = "ipv4:" + ",".join(replica.address for replica in replicas)
    async with connect(target, lost_seconds=lost_seconds) as channel:
        under = Load(dataset_pb2_grpc.DatasetServiceStub(channel), request)
        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(under.call_on()) for _ in range(CALLERS)]
            await under.more(100)
            yield under
            for caller in callers:
                caller.cancel()
    sys.stdout.write(f"{len(under.seconds)} calls, the longest took {max(under.seconds):.2f} s\n")


@pytest.mark.parametrize("request_", [GET, LARGE], ids=["small", "large"])
async def test_a_replica_that_does_not_answer_any_more_costs_time_and_no_call(
    replicas: list[Replica], request_: pb.GetDatasetRequest
) -> None:
    async with load(replicas, request_) as under:
        # Its kernel still confirms what is sent, as with a process that hangs: only pings tell.
        replicas[0].send(signal.SIGSTOP)
        # Every caller gets answers again, those too that were waiting for this replica.
        await under.more(CALLERS * 50)
        replicas[0].send(signal.SIGCONT)
        await under.more(100)


async def test_replicas_that_are_restarted_in_turn_fail_no_call(replicas: list[Replica]) -> None:
    async with load(replicas) as under:
        for replica in replicas:
            assert await asyncio.to_thread(replica.stop) == 0
            await under.more(50)
            await asyncio.to_thread(replica.start)
            await under.more(200)


async def test_connections_that_are_told_to_go_fail_no_call(start: Callable[..., Any]) -> None:
    servers = [await start(max_connection_age_seconds=0.3) for _ in range(2)]
    async with connect("ipv4:" + ",".join(server.address for server in servers)) as channel:
        stub: Any = dataset_pb2_grpc.DatasetServiceStub(channel)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            await stub.GetDataset(GET)


async def test_a_client_may_ping_as_often_as_ours_do(start: Callable[..., Any]) -> None:
    server = await start()
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with grpc.aio.insecure_channel(server.address, options) as channel:
        await channel.channel_ready()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), 6)


# How many pings are too many, and what is said of them.
TOO_MANY = {
    "grpc": (10, b"too_many_pings"),
    "http2": (10_001, b"too many frames"),
    "http2 with workers": (10_001, b"too many frames"),
}


async def test_a_client_that_pings_without_end_is_cut_off(start: Callable[..., Any], transport: str) -> None:
    count, says = TOO_MANY[transport]
    host, _, port = (await start()).address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    # The preface of HTTP/2, empty settings, and pings (RFC 9113, section 6.7).
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + count * ping)

    async with asyncio.timeout(30):
        told = await reader.read(-1)

    assert says in told
    writer.close()
