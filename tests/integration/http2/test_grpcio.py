"""Calls from grpcio, sync and asynchronous: everything that a client can do comes out as it should."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
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
    trailers_block,
    unary,
)

if TYPE_CHECKING:
    from .conftest import Serve

Connect = Callable[..., Any]
PATH = "/test.Service/Method"
SIZES = [0, 1, 3000, 16_379, 65_531, 1_000_000]


async def echo(call: Call, request: bytes) -> bytes:
    return request


async def echo_each(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def join(call: Call, requests: AsyncIterator[bytes]) -> bytes:
    return b"".join([request async for request in requests])


async def count(call: Call, request: bytes) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


async def refuse_stream(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    raise RpcError(StatusCode.PERMISSION_DENIED, "not you")
    yield b""


def refuse(call: Call, request: bytes) -> bytes:
    raise RpcError(
        StatusCode.FAILED_PRECONDITION,
        "not yet: 50% of é\n",
        details=b"\x08\x09\x12\x01x",
        metadata=[("reason", "early"), ("bytes-bin", b"\0\xff")],
    )


ECHOES = [
    pytest.param(direct(PATH, lambda call, request: request), id="direct"),
    pytest.param(unary(PATH, echo), id="coroutine"),
]


@pytest.mark.parametrize("method", ECHOES)
@pytest.mark.parametrize("size", SIZES)
def test_messages_of_any_size_go_both_ways(serve: Serve, connect: Connect, method: Method, size: int) -> None:
    channel = connect(serve([method]))
    message = bytes(range(256)) * (size // 256 + 1)
    assert channel.unary_unary(PATH)(message[:size], timeout=60) == message[:size]


@pytest.mark.parametrize("method", ECHOES)
def test_many_calls_at_a_time_share_a_connection(serve: Serve, connect: Connect, method: Method) -> None:
    served = serve([method])
    call = connect(served).unary_unary(PATH)
    futures = [call.future(b"%d" % number * 1000, timeout=60) for number in range(300)]
    assert [future.result() for future in futures] == [b"%d" % number * 1000 for number in range(300)]
    assert served.server.connections == 1
    assert served.server.calls == 0


async def test_an_asynchronous_client_calls_too(serve: Serve) -> None:
    served = serve([bidirectional(PATH, echo_each), unary("/test.Service/Echo", echo)])
    channel: Any
    async with grpc.aio.insecure_channel(served.address) as channel:
        replies = await asyncio.gather(
            *(channel.unary_unary("/test.Service/Echo")(b"%d" % number) for number in range(50))
        )
        assert replies == [b"%d" % number for number in range(50)]
        talk = channel.stream_stream(PATH)()
        for number in range(20):
            await talk.write(b"%d" % number)
            assert await talk.read() == b"%d" % number
        await talk.done_writing()
        assert await talk.read() is grpc.aio.EOF
        assert await talk.code() == grpc.StatusCode.OK


async def test_streams_that_are_refused_at_once_hear_why(serve: Serve) -> None:
    channel: Any
    address = serve([bidirectional(PATH, refuse_stream)]).address
    async with grpc.aio.insecure_channel(address) as channel:
        for _ in range(100):
            call = channel.stream_stream(PATH)(iter([b"one", b"two"]))
            assert await call.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_a_stream_whose_caller_says_nothing_is_refused_too(serve: Serve) -> None:
    channel: Any
    address = serve([bidirectional(PATH, refuse_stream)]).address
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(PATH)()
        assert await call.code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_function_may_be_asked_first_and_leave_a_call_to_a_coroutine(
    serve: Serve, connect: Connect
) -> None:
    def take_short_ones(call: Call, request: bytes) -> bool:
        if len(request) < 10:
            call.reply(b"first")
        return len(request) < 10

    channel = connect(serve([unary(PATH, echo, first=take_short_ones)]))
    for size in SIZES:
        reply = channel.unary_unary(PATH)(bytes(size), timeout=60)
        assert reply == (b"first" if size < 10 else bytes(size))


def test_an_answer_carries_trailers_that_were_encoded_beforehand(serve: Serve, connect: Connect) -> None:
    trailers = trailers_block(StatusCode.OK, metadata=[("x-request-id", "7")])

    def reply(call: Call, request: bytes) -> None:
        call.reply(request, trailers=trailers)

    channel = connect(serve([direct(PATH, reply)]))
    for size in SIZES:
        message, made = channel.unary_unary(PATH).with_call(bytes(size), timeout=60)
        assert (message, [*made.trailing_metadata()]) == (bytes(size), [("x-request-id", "7")])


def test_a_method_without_a_path_answers_what_no_other_does(serve: Serve, connect: Connect) -> None:
    channel = connect(serve([unary(PATH, echo), direct("", lambda call, request: b"any")]))
    assert channel.unary_unary(PATH)(b"mine", timeout=60) == b"mine"
    assert channel.unary_unary("/no.Such/Method")(b"", timeout=60) == b"any"


def test_streams_of_requests_and_of_responses(serve: Serve, connect: Connect) -> None:
    channel = connect(
        serve(
            [
                bidirectional("/s/each", echo_each),
                client_streaming("/s/join", join),
                server_streaming("/s/count", count),
            ]
        )
    )
    messages = [b"a" * size for size in SIZES]
    assert list(channel.stream_stream("/s/each")(iter(messages), timeout=60)) == messages
    assert channel.stream_unary("/s/join")(iter(messages), timeout=60) == b"".join(messages)
    assert channel.stream_unary("/s/join")(iter([]), timeout=60) == b""
    assert list(channel.unary_stream("/s/count")(b"3", timeout=60)) == [b"0", b"1", b"2"]
    assert list(channel.unary_stream("/s/count")(b"0", timeout=60)) == []


def test_a_stream_longer_than_any_window_goes_both_ways(serve: Serve, connect: Connect) -> None:
    channel = connect(serve([bidirectional(PATH, echo_each)], Options(max_message_bytes=1 << 18)))
    message = bytes(200_000)
    size = sum(map(len, channel.stream_stream(PATH)((message for _ in range(60)), timeout=100)))
    assert size == 60 * len(message)


def test_a_handler_that_reads_slowly_slows_its_client(serve: Serve, connect: Connect) -> None:
    held = threading.Event()
    written: list[int] = []

    async def wait(call: Call, requests: AsyncIterator[bytes]) -> bytes:
        while not held.is_set():
            await asyncio.sleep(0.01)
        return b"%d" % sum([len(request) async for request in requests])

    def messages() -> Iterator[bytes]:
        for number in range(300):
            written.append(number)
            yield bytes(10_000)

    served = serve([client_streaming(PATH, wait)], Options(max_message_bytes=1 << 16))
    call = connect(served).stream_unary(PATH).future(messages(), timeout=100)
    last = -1
    while len(written) != last:
        last = len(written)
        time.sleep(0.5)
    # The window is twice the largest message: the client stopped long before its end.
    assert last < 200
    held.set()
    assert call.result() == b"3000000"


def fail(call: Call, request: bytes) -> bytes:
    raise ZeroDivisionError


def decode_nothing(message: bytes) -> bytes:
    raise ValueError("no message")


REFUSING = {
    "refused": (direct(PATH, refuse), StatusCode.FAILED_PRECONDITION, "not yet: 50% of é\n"),
    "a fault": (direct(PATH, fail), StatusCode.UNKNOWN, "the handler failed"),
    "no message": (
        unary(PATH, echo, decode=decode_nothing),
        StatusCode.INTERNAL,
        "a message cannot be decoded",
    ),
    "no method": (direct("/else", refuse), StatusCode.UNIMPLEMENTED, f"there is no method {PATH}"),
}


@pytest.mark.parametrize(("method", "status", "message"), REFUSING.values(), ids=REFUSING)
def test_a_call_ends_with_a_status(
    serve: Serve, connect: Connect, method: Method, status: StatusCode, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        connect(serve([method])).unary_unary(PATH)(b"x", timeout=60)
    assert caught.value.code().value[0] == status
    assert caught.value.details() == message


def test_a_status_carries_details_and_metadata(serve: Serve, connect: Connect) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        connect(serve([direct(PATH, refuse)])).unary_unary(PATH)(b"x", timeout=60)
    trailers: dict[str, Any] = {datum.key: datum.value for datum in caught.value.trailing_metadata()}
    assert trailers["grpc-status-details-bin"] == b"\x08\x09\x12\x01x"
    assert trailers["reason"] == "early"
    assert trailers["bytes-bin"] == b"\0\xff"


def test_metadata_goes_both_ways(serve: Serve, connect: Connect) -> None:
    def handler(call: Call, request: bytes) -> bytes:
        seen = [(name, value) for name, value in call.metadata if name.startswith("x-")]
        call.send_metadata([("x-first", "before"), ("x-first-bin", b"\0\1")])
        call.set_trailing_metadata(seen)
        return repr(seen).encode()

    sent = (("x-text", "a text, with commas"), ("x-bin", b"\xff\0,"), ("x-bin", b""), ("x-text", "again"))
    call = connect(serve([direct(PATH, handler)])).unary_unary(PATH)
    reply, told = call.with_call(b"", metadata=sent, timeout=60)
    assert reply == repr([*sent]).encode()
    assert [(name, value) for name, value in told.initial_metadata() if name.startswith("x-")] == [
        ("x-first", "before"),
        ("x-first-bin", b"\0\1"),
    ]
    assert [(name, value) for name, value in told.trailing_metadata() if name.startswith("x-")] == [*sent]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
@pytest.mark.parametrize("method", ECHOES)
def test_messages_may_come_compressed(
    serve: Serve, connect: Connect, method: Method, compression: grpc.Compression
) -> None:
    channel = connect(serve([method]))
    message = bytes(100_000)
    assert channel.unary_unary(PATH)(message, compression=compression, timeout=60) == message


def test_messages_may_be_sent_compressed(serve: Serve, connect: Connect) -> None:
    async def half(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for request in requests:
            call.compress = not call.compress
            yield b"%d " % call.was_compressed + request

    channel = connect(serve([bidirectional(PATH, half)]))
    messages = [b"a" * 10_000, b"b", b""]
    call = channel.stream_stream(PATH)(iter(messages), compression=grpc.Compression.Gzip, timeout=60)
    replies = list(call)
    assert [reply[2:] for reply in replies] == messages
    assert replies[0][:1] == b"1"


def test_a_compression_that_is_not_known_is_refused(serve: Serve, connect: Connect) -> None:
    call = connect(serve([unary(PATH, echo)])).unary_unary(PATH)
    with pytest.raises(grpc.RpcError) as caught:
        call(bytes(10_000), compression=grpc.Compression.Deflate, timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("method", ECHOES)
def test_a_message_that_is_too_large_is_refused_and_the_next_is_not(
    serve: Serve, connect: Connect, method: Method, compression: grpc.Compression
) -> None:
    call = connect(serve([method], Options(max_message_bytes=100_000))).unary_unary(PATH)
    with pytest.raises(grpc.RpcError) as caught:
        call(bytes(100_001), compression=compression, timeout=60)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(call(bytes(100_000), compression=compression, timeout=60)) == 100_000


@pytest.mark.parametrize("kind", ["direct", "coroutine", "stream"])
def test_a_deadline_ends_a_call_on_both_sides(serve: Serve, connect: Connect, kind: str) -> None:
    told = threading.Event()
    remaining: list[float | None] = []

    def keep(call: Call, request: bytes) -> None:
        remaining.append(call.time_remaining())
        call.on_cancel = told.set

    async def sleep(call: Call, request: bytes) -> bytes:
        remaining.append(call.time_remaining())
        try:
            await asyncio.sleep(3600)
        finally:
            told.set()
        return b""

    async def sleep_between(call: Call, request: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        yield await sleep(call, request)

    methods: dict[str, Any] = {
        "direct": direct(PATH, keep),
        "coroutine": unary(PATH, sleep),
        "stream": server_streaming(PATH, sleep_between),
    }
    served = serve([methods[kind]])
    channel = connect(served)
    with pytest.raises(grpc.RpcError) as caught:
        if kind == "stream":
            list(channel.unary_stream(PATH)(b"", timeout=0.3))
        else:
            channel.unary_unary(PATH)(b"", timeout=0.3)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert told.wait(30)
    assert remaining[0] is not None
    assert 0 < remaining[0] < 1
    assert served.server.calls == 0


def test_calls_without_a_deadline_get_the_servers(serve: Serve, connect: Connect) -> None:
    def keep(call: Call, request: bytes) -> None:
        pass

    channel = connect(serve([direct(PATH, keep)], Options(default_timeout_seconds=0.2)))
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(PATH)(b"")
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "the deadline has passed"


@pytest.mark.parametrize("kind", ["direct", "coroutine", "requests"])
def test_a_client_that_gives_up_is_heard(serve: Serve, connect: Connect, kind: str) -> None:
    begun, told = threading.Event(), threading.Event()

    def keep(call: Call, request: bytes) -> None:
        call.on_cancel = told.set
        begun.set()

    async def sleep(call: Call, request: object) -> bytes:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            told.set()
        return b""

    async def read(call: Call, requests: AsyncIterator[bytes]) -> bytes:
        async for _ in requests:
            await sleep(call, b"")
        return b""

    methods: dict[str, Any] = {
        "direct": direct(PATH, keep),
        "coroutine": unary(PATH, sleep),
        "requests": client_streaming(PATH, read),
    }
    served = serve([methods[kind]])
    channel = connect(served)
    if kind == "requests":
        future = channel.stream_unary(PATH).future(iter([b"1"]))
    else:
        future = channel.unary_unary(PATH).future(b"")
    assert begun.wait(30)
    future.cancel()
    assert told.wait(30)


def test_a_client_that_goes_away_is_noticed(serve: Serve) -> None:
    begun, told = threading.Event(), threading.Event()

    def keep(call: Call, request: bytes) -> None:
        call.on_cancel = told.set
        begun.set()

    served = serve([direct(PATH, keep)])
    channel: Any = grpc.insecure_channel(served.address)
    future = channel.unary_unary(PATH).future(b"")
    assert begun.wait(30)
    channel.close()
    assert told.wait(30)
    assert future.done()


def test_calls_kept_by_a_function_are_answered_together(serve: Serve, connect: Connect) -> None:
    kept: list[tuple[Call, bytes]] = []
    together: list[int] = []

    def keep(call: Call, request: bytes) -> None:
        kept.append((call, request))
        if len(kept) == 1:
            asyncio.get_running_loop().call_later(0.2, answer)

    def answer() -> None:
        together.append(len(kept))
        for call, request in kept:
            if request == b"13":
                call.abort(StatusCode.OUT_OF_RANGE, "unlucky")
            else:
                call.reply(request + b"!")
            # A second answer is none.
            call.reply(b"again")
            call.abort(StatusCode.INTERNAL)
        kept.clear()

    call = connect(serve([direct(PATH, keep)])).unary_unary(PATH)
    futures = [call.future(b"%d" % number, timeout=60) for number in range(40)]
    for number, future in enumerate(futures):
        if number == 13:
            assert future.exception().details() == "unlucky"
        else:
            assert future.result() == b"%d!" % number
    assert sum(together) == 40


def test_a_client_may_send_more_than_one_message_only_where_many_are_taken(
    serve: Serve, connect: Connect
) -> None:
    channel = connect(serve([unary(PATH, echo)]))
    for messages in ([], [b"1", b"2"]):
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(PATH)(iter(messages), timeout=60)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("family", ["tcp", "local"])
def test_a_socket_may_be_given(serve: Serve, family: str) -> None:
    # Its path must be short.
    with tempfile.TemporaryDirectory(prefix="lepton-") as folder:
        kind = socket.AF_INET if family == "tcp" else socket.AF_UNIX
        bound = socket.socket(kind, socket.SOCK_STREAM)
        bound.bind(("127.0.0.1", 0) if family == "tcp" else f"{folder}/socket")
        served = serve([unary(PATH, echo)])
        address, port = served.run(served.server.listen_on(bound))
        channel: Any
        with grpc.insecure_channel(f"{address}:{port}" if port else f"unix:{address}") as channel:
            assert channel.unary_unary(PATH)(b"hello", timeout=60) == b"hello"
