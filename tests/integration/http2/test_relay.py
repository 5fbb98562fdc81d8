"""Connections in other processes: calls are what they are without, and a process that dies takes its own with
it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from lepton_http2.grpc import (
    Call,
    Method,
    Options,
    RpcError,
    StatusCode,
    bidirectional,
    client_streaming,
    direct,
    server_streaming,
    unary,
)
from lepton_http2.relay.processes import Fronts
from lepton_http2.relay.shared import Sizes

HERE = Path(__file__).parent
FRONT = (sys.executable, str(HERE / "relay_front.py"))
# All rings are small here, so that they are often full.
SMALL = Sizes(ring_bytes=16 << 10, block_bytes=256 << 10)
PIECE = bytes(10_000)


Open = Callable[[], Awaitable[Any]]


async def until(condition: Callable[[], object]) -> None:
    """Waits until something is true."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def is_replaced(fronts: Fronts, pid: int) -> bool:
    """Whether there are two, none of them with this process id."""
    return pid not in fronts.pids and len(fronts.connections) == 2


@dataclass
class Handlers:
    """Methods, and what becomes of their calls."""

    begun: int = 0
    cancelled: int = 0
    sent: int = 0
    taken: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def echo(self, call: Call, message: bytes) -> bytes:
        return message

    async def answer(self, call: Call, message: bytes) -> bytes:
        call.set_trailing_metadata([("peer", call.peer), *call.metadata])
        return message

    async def fail(self, call: Call, message: bytes) -> bytes:
        raise RpcError(StatusCode.NOT_FOUND, "näh", details=b"\x08\x05", metadata=[("why-bin", b"\0\xff")])

    async def wait(self, call: Call, message: bytes) -> bytes:
        self.begun += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return message

    async def many(self, call: Call, message: bytes) -> AsyncIterator[bytes]:
        for _ in range(int(message)):
            yield PIECE
            self.sent += 1

    async def total(self, call: Call, messages: AsyncIterator[bytes]) -> bytes:
        total = 0
        async for message in messages:
            total += len(message)
        return str(total).encode()

    async def talk(self, call: Call, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        call.send_metadata([("first", "1")])
        async for message in messages:
            yield message[::-1]

    async def take_one(self, call: Call, messages: AsyncIterator[bytes]) -> bytes:
        self.taken += len(await anext(messages))
        await self.go_on.wait()
        async for message in messages:
            self.taken += len(message)
        return b""

    def methods(self) -> list[Method]:
        return [
            direct("/test/Echo", self.echo),
            unary("/test/Answer", self.answer),
            unary("/test/Fail", self.fail),
            unary("/test/Wait", self.wait),
            server_streaming("/test/Many", self.many),
            client_streaming("/test/Total", self.total),
            client_streaming("/test/TakeOne", self.take_one),
            bidirectional("/test/Talk", self.talk),
        ]


@pytest.fixture
async def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def port(listener: socket.socket) -> int:
    number: int = listener.getsockname()[1]
    return number


@pytest.fixture
async def fronts(handlers: Handlers, listener: socket.socket) -> AsyncIterator[Fronts]:
    """Two processes that accept connections."""
    options = Options(max_message_bytes=8 << 20)
    made = Fronts(2, FRONT, methods=handlers.methods(), options=options, sizes=SMALL)
    await made.start()
    made.accept(listener)
    yield made
    await made.drain(0)


@pytest.fixture
async def open_channel(fronts: Fronts, port: int) -> AsyncIterator[Open]:
    """Opens channels, each with a connection of its own."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one() -> grpc.aio.Channel:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
            await stack.enter_async_context(channel)
            await channel.channel_ready()
            return channel

        yield open_one


@pytest.mark.parametrize("size", [0, 1, 5_000, 40_000, 300_000, 5_000_000])
async def test_messages_of_all_sizes_come_through(open_channel: Open, size: int) -> None:
    message = random.Random(0).randbytes(size)
    channel = await open_channel()
    for method in ("Echo", "Answer"):
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            call = channel.unary_unary(f"/test/{method}")
            assert await call(message, compression=compression) == message
    # Both ways, many at a time.
    talk = channel.stream_stream("/test/Talk")(iter([message] * 3))
    assert [answer async for answer in talk] == [message[::-1]] * 3
    assert (await talk.initial_metadata())["first"] == "1"


async def test_many_messages_at_once_through_small_rings(open_channel: Open, fronts: Fronts) -> None:
    rng = random.Random(0)
    channels = [await open_channel() for _ in range(4)]

    async def ask(channel: Any) -> None:
        message = rng.randbytes(rng.choice([10, 3_000, 50_000, 200_000]))
        assert await channel.unary_unary("/test/Echo")(message) == message

    await asyncio.gather(*(ask(channel) for channel in channels for _ in range(50)))
    assert fronts.calls == 0


async def test_metadata_and_statuses_come_through(open_channel: Open) -> None:
    channel = await open_channel()
    call = channel.unary_unary("/test/Answer")(b"", metadata=[("colour", "red"), ("data-bin", b"\0\xff")])
    await call
    trailers = dict(await call.trailing_metadata())
    assert trailers["colour"] == "red" and trailers["data-bin"] == b"\0\xff"
    assert trailers["peer"].startswith("127.0.0.1:")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/test/Fail")(b"")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "näh")
    assert dict(caught.value.trailing_metadata()) == {
        "grpc-status-details-bin": b"\x08\x05",
        "why-bin": b"\0\xff",
    }
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/test/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_handlers_hear_of_deadlines_and_of_clients_that_leave(
    open_channel: Open, handlers: Handlers, fronts: Fronts
) -> None:
    channel = await open_channel()
    wait = channel.unary_unary("/test/Wait")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wait(b"", timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: handlers.cancelled == 1)

    call = wait(b"")
    await until(lambda: handlers.begun == 2)
    call.cancel()
    await until(lambda: handlers.cancelled == 2)

    call = wait(b"")
    await until(lambda: handlers.begun == 3)
    await channel.close()
    await until(lambda: handlers.cancelled == 3)
    assert fronts.calls == 0


async def test_a_client_that_takes_nothing_stops_its_own_stream_alone(
    open_channel: Open, handlers: Handlers, fronts: Fronts
) -> None:
    slow, other = await open_channel(), await open_channel()
    stream = slow.unary_stream("/test/Many")(b"100000")
    await stream.read()
    # It is stopped when nothing has been sent for a while.
    before = -1
    while before != handlers.sent:
        before = handlers.sent
        await asyncio.sleep(0.3)
    assert handlers.sent < 2_000
    for channel in (slow, other):
        assert await channel.unary_unary("/test/Echo")(b"x") == b"x"
    stream.cancel()
    await until(lambda: fronts.calls == 0)


async def test_a_handler_that_takes_nothing_stops_its_own_caller_alone(
    open_channel: Open, handlers: Handlers
) -> None:
    channel = await open_channel()
    call = channel.stream_unary("/test/TakeOne")()
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(10_000):
            await call.write(PIECE)
            written += 1
        await call.done_writing()

    writing = asyncio.create_task(write())
    await until(lambda: handlers.taken)
    before = -1
    while before != written:
        before = written
        await asyncio.sleep(0.3)
    assert written < 10_000
    assert await channel.unary_unary("/test/Echo")(b"x") == b"x"
    handlers.go_on.set()
    await writing
    await call
    assert handlers.taken == 10_000 * len(PIECE)


async def test_connections_are_shared_out(open_channel: Open, fronts: Fronts) -> None:
    for _ in range(12):
        await open_channel()
    await until(lambda: sum(fronts.connections) == 12)
    assert min(fronts.connections) >= 3


async def test_a_front_that_is_killed_takes_its_own_calls_alone_and_comes_back(
    open_channel: Open, handlers: Handlers, fronts: Fronts
) -> None:
    channels = [await open_channel() for _ in range(8)]
    calls = [asyncio.ensure_future(channel.unary_unary("/test/Wait")(b"here")) for channel in channels]
    await until(lambda: handlers.begun == 8)
    lost, kept = fronts.pids

    os.kill(lost, signal.SIGKILL)

    await until(partial(is_replaced, fronts, lost))
    await until(lambda: handlers.cancelled == 8 - fronts.calls)
    assert kept in fronts.pids
    handlers.go_on.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    answered = results.count(b"here")
    assert 0 < answered < 8 and answered == 8 - handlers.cancelled
    errors = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert [error.code() for error in errors] == [grpc.StatusCode.UNAVAILABLE] * (8 - answered)
    # Its clients connect anew, and nothing is left of it.
    assert [await channel.unary_unary("/test/Answer")(b"x", wait_for_ready=True) for channel in channels]
    assert not psutil.pid_exists(lost)


async def test_memory_and_descriptors_of_dead_fronts_are_free(open_channel: Open, fronts: Fronts) -> None:
    here = psutil.Process()
    counts = []
    for _ in range(4):
        channel = await open_channel()
        await channel.unary_unary("/test/Echo")(bytes(100_000))
        await channel.close()
        lost = fronts.pids[0]
        os.kill(lost, signal.SIGKILL)
        await until(partial(is_replaced, fronts, lost))
        counts.append((here.num_fds(), len(here.memory_maps(grouped=False))))
    assert counts[-1][0] <= counts[0][0] + 2
    assert counts[-1][1] <= counts[0][1] + 2


async def test_clients_that_are_asked_to_leave_are_answered_all_the_same(
    open_channel: Open, handlers: Handlers, fronts: Fronts
) -> None:
    channel = await open_channel()
    call = asyncio.ensure_future(channel.unary_unary("/test/Wait")(b"here"))
    await until(lambda: handlers.begun == 1)
    fronts.leave()
    # The client connects anew for its next call.
    await until(lambda: channel.get_state() is not grpc.ChannelConnectivity.READY)
    assert await channel.unary_unary("/test/Echo")(b"x", wait_for_ready=True) == b"x"
    handlers.go_on.set()
    assert await call == b"here"


async def test_a_drain_answers_the_calls_that_came(
    open_channel: Open, handlers: Handlers, fronts: Fronts, port: int
) -> None:
    channels = [await open_channel() for _ in range(4)]
    calls = [asyncio.ensure_future(channel.unary_unary("/test/Wait")(b"here")) for channel in channels]
    await until(lambda: handlers.begun == 4)
    pids = fronts.pids

    draining = asyncio.create_task(fronts.drain(30))
    await until(lambda: not fronts.connections)
    with pytest.raises(ConnectionRefusedError):
        await until(lambda: socket.create_connection(("127.0.0.1", port)).close())
    handlers.go_on.set()

    assert await asyncio.gather(*calls) == [b"here"] * 4
    await draining
    assert not any(map(psutil.pid_exists, pids))


async def test_a_drain_ends_calls_that_take_too_long(
    open_channel: Open, handlers: Handlers, fronts: Fronts
) -> None:
    channel = await open_channel()
    call = asyncio.ensure_future(channel.unary_unary("/test/Wait")(b""))
    await until(lambda: handlers.begun == 1)
    await fronts.drain(0.1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert handlers.cancelled == 1


async def test_fronts_that_cannot_start_are_told_of() -> None:
    fronts = Fronts(2, (sys.executable, "-c", "raise SystemExit(3)"), methods=[], options=Options())
    with pytest.raises(OSError, match="ended with status 3"):
        await fronts.start()
    assert fronts.pids == []


def test_fronts_end_with_the_back() -> None:
    command = [sys.executable, str(HERE / "relay_back.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as back:
        assert back.stdout is not None
        port, *pids = map(int, back.stdout.readline().split())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            echo: Any = channel.unary_unary("/test/Echo")
            assert echo(b"x", wait_for_ready=True) == b"x"
        fronts = [psutil.Process(pid) for pid in pids]
        # What a terminal sends to all of them ends none.
        for front in fronts:
            front.send_signal(signal.SIGINT)
        back.kill()
    _, alive = psutil.wait_procs(fronts, timeout=30)
    assert not alive
