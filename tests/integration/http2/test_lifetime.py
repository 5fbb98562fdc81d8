"""How connections end: no accepted call is lost, and nobody holds one for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from lepton_http2 import frames
from lepton_http2.errors import ErrorCode
from lepton_http2.grpc import Call, Options, StatusCode, bidirectional, direct, server_streaming, unary

from .peer import Peer

if TYPE_CHECKING:
    from .conftest import Served

Serve = Callable[..., "Served"]
PATH = "/test.Service/Method"
HELLO = b"\0\0\0\0\5hello"


def echo(call: Call, request: bytes) -> bytes:
    return request


async def sleep(call: Call, request: bytes) -> bytes:
    await asyncio.sleep(float(request))
    return request


async def repeat(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def endless(call: Call, request: bytes) -> AsyncIterator[bytes]:
    while True:
        yield bytes(100_000)


async def test_no_call_fails_when_the_server_drains(serve: Serve) -> None:
    """Clients call all the time, and go on to another server when the first one says that it ends."""
    first, second = serve([unary(PATH, sleep)]), serve([unary(PATH, sleep)])
    answered = {first.port: 0, second.port: 0}
    stop = False

    async def load(channels: dict[int, Any]) -> None:
        port = first.port
        while not stop:
            try:
                await channels[port].unary_unary(PATH)(b"0.01", wait_for_ready=False)
                answered[port] += 1
            except grpc.aio.AioRpcError as error:
                # The channel knows of the end: the call was never sent.
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
                assert port == first.port
                assert "Connection refused" in str(error.debug_error_string()), error
                port = second.port

    async with contextlib.AsyncExitStack() as stack:
        channels: dict[int, Any] = {}
        for served in (first, second):
            channel = grpc.aio.insecure_channel(served.address)
            channels[served.port] = await stack.enter_async_context(channel)
        loads = [asyncio.create_task(load(channels)) for _ in range(30)]
        while answered[first.port] < 300:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(first.run, first.server.drain())
        assert first.server.calls == first.server.connections == 0
        while answered[second.port] < 100:
            await asyncio.sleep(0.01)
        stop = True
        await asyncio.gather(*loads)


def test_calls_that_take_too_long_do_not_hold_up_a_drain(serve: Serve) -> None:
    served = serve([unary(PATH, sleep)])
    channel: Any
    with grpc.insecure_channel(served.address) as channel:
        future = channel.unary_unary(PATH).future(b"3600")
        while not served.server.calls:
            assert not future.done()
        served.run(served.server.drain(0.2))
        error = future.exception(timeout=30)
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the server has stopped")
    with pytest.raises(ConnectionRefusedError):
        served.socket()


def test_a_client_is_told_before_the_end_and_what_it_sent_until_then_is_answered(serve: Serve) -> None:
    served = serve([direct(PATH, echo)])
    with served.socket() as connection:
        peer = Peer(connection)
        peer.call(1, body=HELLO)
        assert peer.answer(1)[1] == HELLO
        drain = threading.Thread(target=lambda: served.run(served.server.drain()))
        drain.start()
        assert peer.goaway() == ErrorCode.NO_ERROR
        ping = peer.receive(frames.PING)[3]
        peer.call(3, body=HELLO)
        assert peer.answer(3)[1] == HELLO
        peer.send(frames.frame(frames.PING, frames.ACK, 0, ping))
        assert peer.receive(frames.GOAWAY)[3][:4] == (3).to_bytes(4)
        assert peer.is_closed()
        drain.join(30)


def test_a_connection_ends_at_its_age(serve: Serve) -> None:
    served = serve([direct(PATH, echo), unary("/sleep", sleep)], Options(max_age_seconds=0.5))
    channel: Any
    with grpc.insecure_channel(served.address) as channel, served.socket() as connection:
        peer = Peer(connection)
        # Longer than the age: it is answered all the same.
        assert channel.unary_unary("/sleep")(b"3", timeout=60) == b"3"
        assert peer.goaway() == ErrorCode.NO_ERROR
        # A client of gRPC just opens another.
        assert channel.unary_unary(PATH)(b"again", timeout=60) == b"again"


def test_calls_beyond_the_age_and_its_grace_are_ended(serve: Serve) -> None:
    served = serve([unary(PATH, sleep)], Options(max_age_seconds=0.2, max_age_grace_seconds=0.2))
    channel: Any
    with grpc.insecure_channel(served.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(PATH)(b"3600", timeout=60)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_client_that_is_there_answers_pings_and_one_that_is_not_is_let_go(serve: Serve) -> None:
    served = serve([direct(PATH, echo)], Options(keepalive_seconds=0.1, keepalive_timeout_seconds=1.5))
    with served.socket() as there, served.socket() as silent:
        awake, asleep = Peer(there), Peer(silent)
        for _ in range(3):
            ping = awake.receive(frames.PING)[3]
            awake.send(frames.frame(frames.PING, frames.ACK, 0, ping))
        assert asleep.goaway() == ErrorCode.ENHANCE_YOUR_CALM
        assert asleep.is_closed()
        awake.call(1, body=HELLO)
        assert awake.answer(1)[1] == HELLO


def test_a_connection_without_calls_ends(serve: Serve) -> None:
    served = serve([direct(PATH, echo)], Options(idle_seconds=0.5))
    with served.socket() as connection:
        peer = Peer(connection)
        peer.call(1, body=HELLO)
        assert peer.answer(1)[1] == HELLO
        assert peer.goaway() == ErrorCode.NO_ERROR


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        pytest.param(Options(handshake_seconds=0.5), b"", id="nothing"),
        pytest.param(Options(handshake_seconds=0.5), frames.PREFACE, id="no settings"),
        pytest.param(
            Options(stall_seconds=0.5),
            frames.PREFACE + frames.settings([]) + frames.frame(frames.PING, 0, 0, bytes(8))[:12],
            id="half a frame",
        ),
        pytest.param(
            Options(stall_seconds=0.5),
            frames.PREFACE + frames.settings([]) + frames.frame(frames.HEADERS, 0, 1, b"\x82"),
            id="half a header block",
        ),
    ],
)
def test_a_client_that_does_not_go_on_is_let_go(serve: Serve, options: Options, sent: bytes) -> None:
    served = serve([direct(PATH, echo)], options)
    with served.socket() as connection:
        peer = Peer(connection, greeting=sent)
        assert peer.goaway() == ErrorCode.ENHANCE_YOUR_CALM
        assert peer.is_closed()


@pytest.mark.parametrize(
    ("handler", "sent"),
    [
        pytest.param("of one message", b"", id="nothing"),
        pytest.param("of one message", b"\0\0\0\1\0he", id="half a message"),
        pytest.param("of a stream", b"\0\0\0\1\0he", id="half a message of a stream"),
    ],
)
def test_a_request_that_does_not_come_to_an_end_is_ended(serve: Serve, handler: str, sent: bytes) -> None:
    """However often something comes of it."""
    method = direct(PATH, echo) if handler == "of one message" else bidirectional(PATH, repeat)
    served = serve([method], Options(request_seconds=1.0))
    with served.socket() as connection:
        peer = Peer(connection)
        peer.call(1, body=sent, end=False)
        over = threading.Event()

        def trickle() -> None:
            while sent and not over.wait(0.05):
                peer.send(frames.frame(frames.DATA, 0, 1, b"x"))

        trickling = threading.Thread(target=trickle)
        trickling.start()
        try:
            _, _, trailers = peer.answer(1)
        finally:
            over.set()
            trickling.join(30)
        assert trailers[b"grpc-status"] == b"%d" % StatusCode.DEADLINE_EXCEEDED
        assert served.server.calls == served.server.buffered_bytes == 0
        peer.call(3, body=HELLO)
        assert peer.answer(3)[1] == HELLO


def test_clients_that_hold_too_much_together_lose_the_calls_that_hold_most(serve: Serve) -> None:
    options = Options(max_message_bytes=1 << 20, max_total_buffered_bytes=1 << 20)
    served = serve([direct(PATH, echo)], options)
    with served.socket() as one, served.socket() as other:
        small, large = Peer(one), Peer(other)
        small.call(1, body=b"\0\0\0\0\5he", end=False)
        prefix = b"\0" + (1 << 20).to_bytes(4)
        for stream_id in (1, 3):
            large.call(stream_id, body=prefix + bytes(600_000), end=False)
        for stream_id in (1, 3):
            _, _, trailers = large.answer(stream_id)
            assert trailers[b"grpc-status"] == b"%d" % StatusCode.RESOURCE_EXHAUSTED
        # It held less, and goes on.
        small.send(frames.frame(frames.DATA, frames.END_STREAM, 1, b"llo"))
        assert small.answer(1)[1] == HELLO
        large.call(5, body=HELLO)
        assert large.answer(5)[1] == HELLO


@pytest.mark.parametrize("windows", ["small", "large"])
def test_a_client_that_takes_nothing_is_let_go(serve: Serve, windows: str) -> None:
    """Its window is full, or its socket is."""
    served = serve([server_streaming(PATH, endless)], Options(stall_seconds=1.0))
    settings = [(4, frames.MAX_WINDOW)] if windows == "large" else []
    with served.socket() as connection:
        peer = Peer(connection, settings=settings)
        if windows == "large":
            peer.send(frames.window_update(0, frames.MAX_WINDOW - 65_535))
        peer.call(1, body=b"\0\0\0\0\0")
        peer.receive(frames.HEADERS)
        clock = threading.Event()
        for _ in range(300):
            if not served.server.connections:
                break
            clock.wait(0.1)
        assert served.server.connections == 0


def test_more_connections_than_allowed_are_closed(serve: Serve) -> None:
    served = serve([direct(PATH, echo)], Options(max_connections=1))
    with served.socket() as first:
        peer = Peer(first)
        peer.call(1, body=HELLO)
        assert peer.answer(1)[1] == HELLO
        with served.socket() as second:
            assert second.recv(1) == b""
        peer.call(3, body=HELLO)
        assert peer.answer(3)[1] == HELLO


def test_hostile_connections_harm_nobody_else(serve: Serve) -> None:
    """Noise, broken frames, resets and announcements of what never comes, next to a client that works."""
    served = serve([direct(PATH, echo)])
    noise = random.Random(0)
    hello = frames.PREFACE + frames.settings([])
    some = noise.randrange
    attacks: list[Callable[[], bytes]] = [
        lambda: noise.randbytes(200),
        lambda: hello + noise.randbytes(200),
        lambda: hello + frames.frame(some(10), some(256), some(4), noise.randbytes(30)),
        lambda: hello + b"\x0f\xff\xff\0\0\0\0\0\1" + noise.randbytes(100),
        lambda: hello + frames.frame(frames.HEADERS, 4, 1, noise.randbytes(50)) * 3,
        lambda: hello + frames.frame(frames.PING, 0, 0, bytes(8)) * 20_000,
    ]
    channel: Any
    with grpc.insecure_channel(served.address) as channel:
        call = channel.unary_unary(PATH)
        for number in range(400):
            with served.socket() as connection, contextlib.suppress(ConnectionError):
                connection.sendall(attacks[number % len(attacks)]())
                if number % 3 == 0:
                    # Ends with a reset of TCP.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if number % 20 == 0:
                assert call(b"still here", timeout=60) == b"still here"
    # Connections are taken in their order: all of them have been when this one is.
    with served.socket() as connection:
        peer = Peer(connection)
        peer.call(1, body=HELLO)
        assert peer.answer(1)[1] == HELLO
    assert served.server.calls == 0
