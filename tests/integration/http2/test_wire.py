"""What a server says to requests, written down octet by octet."""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from lepton_http2 import frames
from lepton_http2.errors import ErrorCode
from lepton_http2.grpc import Call, Options, StatusCode, bidirectional, direct, unary
from lepton_http2.grpc import call as grpc_call
from lepton_http2.grpc.messages import decompress

from .peer import CALL, Peer

if TYPE_CHECKING:
    from .conftest import Served

HELLO = b"\0\0\0\0\5hello"


async def slowly(call: Call, request: bytes) -> bytes:
    return request


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    methods = [
        direct("/test.Service/Method", lambda call, request: request),
        unary("/test.Service/Task", slowly),
    ]
    return serve(methods, Options(max_message_bytes=1000, max_buffered_bytes=5000, max_metadata_bytes=2000))


@pytest.fixture
def peer(served: Served) -> Iterator[Peer]:
    with served.socket() as connection:
        yield Peer(connection)


def changed(*changes: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The fields of a call with others in their place, or behind them."""
    names = dict(changes)
    kept = [(name, names.pop(name, value)) for name, value in CALL]
    return [*kept, *((name, value) for name, value in changes if name in names)]


def test_a_call_is_answered(peer: Peer) -> None:
    peer.call(1, body=HELLO)
    assert peer.answer(1) == (
        {b":status": b"200", b"content-type": b"application/grpc"},
        HELLO,
        {b"grpc-status": b"0"},
    )


@pytest.mark.parametrize("path", [b"/test.Service/Method", b"/test.Service/Task"])
def test_a_message_may_come_octet_by_octet(peer: Peer, path: bytes) -> None:
    peer.call(1, changed((b":path", path)), body=b"", end=False)
    for octet in HELLO:
        peer.send(frames.frame(frames.DATA, 0, 1, bytes([octet])))
    peer.send(frames.frame(frames.DATA, frames.END_STREAM, 1))
    assert peer.answer(1)[1] == HELLO


@pytest.mark.parametrize(
    "content_type",
    [b"application/grpc", b"application/grpc+proto", b"application/grpc;x=y", b"Application/gRPC"],
)
def test_the_kinds_of_calls(peer: Peer, content_type: bytes) -> None:
    peer.call(1, changed((b"content-type", content_type)), body=HELLO)
    assert peer.answer(1)[1] == HELLO


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param([(b"content-type", b"application/json")], b"415", id="json"),
        pytest.param([(b"content-type", b"application/grpc-web")], b"415", id="grpc-web"),
        pytest.param([(b":method", b"GET")], b"405", id="GET"),
        pytest.param([(b":method", b"GET"), (b"content-type", b"")], b"415", id="GET without type"),
    ],
)
def test_what_is_no_call_is_answered_as_http(
    peer: Peer, changes: list[tuple[bytes, bytes]], status: bytes
) -> None:
    peer.call(1, changed(*changes), body=bytes(5000))
    headers, body, _ = peer.answer(1)
    assert headers[b":status"] == status
    assert body
    peer.call(3, body=HELLO)
    assert peer.answer(3)[1] == HELLO


def test_the_answer_to_head_has_no_body(peer: Peer) -> None:
    peer.call(1, changed((b":method", b"HEAD"), (b"content-type", b"text/plain")), body=None)
    headers, body, _ = peer.answer(1)
    assert (headers[b":status"], body) == (b"415", b"")


def gzip(text: bytes) -> bytes:
    return zlib.compress(text, wbits=31)


def framed(body: bytes, *, flag: int = 0) -> bytes:
    return bytes([flag]) + len(body).to_bytes(4) + body


GZIP = (b"grpc-encoding", b"gzip")


@pytest.mark.parametrize("path", [b"/test.Service/Method", b"/test.Service/Task"])
@pytest.mark.parametrize(
    ("changes", "body", "status"),
    [
        pytest.param([(b":path", b"/test.Service/None")], HELLO, StatusCode.UNIMPLEMENTED, id="no method"),
        pytest.param([(b"grpc-timeout", b"1")], HELLO, StatusCode.INTERNAL, id="timeout without unit"),
        pytest.param([(b"grpc-timeout", b"123456789S")], HELLO, StatusCode.INTERNAL, id="long timeout"),
        pytest.param([(b"grpc-encoding", b"br")], HELLO, StatusCode.UNIMPLEMENTED, id="unknown compression"),
        pytest.param([(b"x-bin", b"!!!")], HELLO, StatusCode.INTERNAL, id="metadata that is not base64"),
        pytest.param([(b"x", b"y" * 2000)], HELLO, StatusCode.RESOURCE_EXHAUSTED, id="large metadata"),
        pytest.param([], b"", StatusCode.UNIMPLEMENTED, id="no message"),
        pytest.param([], HELLO + HELLO, StatusCode.UNIMPLEMENTED, id="two messages"),
        pytest.param([], HELLO[:-1], StatusCode.INTERNAL, id="part of a message"),
        pytest.param([], HELLO[:4], StatusCode.INTERNAL, id="part of a prefix"),
        pytest.param([], b"\2" + HELLO[1:], StatusCode.INTERNAL, id="unknown flag"),
        pytest.param([], framed(gzip(b"hello"), flag=1), StatusCode.INTERNAL, id="compressed by nothing"),
        pytest.param([GZIP], framed(b"hello", flag=1), StatusCode.INTERNAL, id="no gzip"),
        pytest.param([GZIP], framed(gzip(b"hello")[:-1], flag=1), StatusCode.INTERNAL, id="half a gzip"),
        pytest.param(
            [GZIP], framed(gzip(b"hello") + b"x", flag=1), StatusCode.INTERNAL, id="more than a gzip"
        ),
        pytest.param([GZIP], framed(gzip(bytes(9999)), flag=1), StatusCode.RESOURCE_EXHAUSTED, id="bomb"),
        pytest.param([], framed(bytes(1001)), StatusCode.RESOURCE_EXHAUSTED, id="large message"),
        pytest.param([], b"\0\xff\xff\xff\xff", StatusCode.RESOURCE_EXHAUSTED, id="4 GiB announced"),
    ],
)
def test_a_call_that_cannot_be_answered_gets_a_status(
    peer: Peer, path: bytes, changes: list[tuple[bytes, bytes]], body: bytes, status: StatusCode
) -> None:
    peer.call(1, changed((b":path", path), *changes), body=body)
    headers, answered, trailers = peer.answer(1)
    assert (headers[b":status"], answered) == (b"200", b"")
    assert trailers[b"grpc-status"] == b"%d" % status
    if changes and changes[0][0] == b"grpc-encoding" and changes[0] != GZIP:
        assert trailers[b"grpc-accept-encoding"] == b"identity,gzip"
    peer.call(3, body=HELLO)
    assert peer.answer(3)[1] == HELLO


def test_compressed_messages_are_understood(peer: Peer) -> None:
    peer.call(1, changed(GZIP), body=framed(gzip(b"hello"), flag=1))
    assert peer.answer(1)[1] == HELLO
    peer.call(3, changed(GZIP), body=HELLO)
    assert peer.answer(3)[1] == HELLO


def test_what_takes_long_to_decompress_keeps_nobody_waiting(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def watched(message: bytes, *, max_message_bytes: int) -> bytes:
        threads.append(threading.current_thread().name)
        return decompress(message, max_message_bytes=max_message_bytes)

    async def joined(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    monkeypatch.setattr(grpc_call, "decompress", watched)
    served = serve([
        unary("/test.Service/Method", slowly, first=lambda call, request: False),
        bidirectional("/test.Service/Stream", joined),
    ])  # fmt: skip
    small, large = b"hello", random.Random(1).randbytes(20_000)
    with served.socket() as connection:
        peer = Peer(connection)
        for stream_id, path in ((1, b"/test.Service/Method"), (5, b"/test.Service/Stream")):
            for number, text in ((stream_id, small), (stream_id + 2, large)):
                peer.call(number, changed((b":path", path), GZIP), body=framed(gzip(text), flag=1))
                assert peer.answer(number)[1] == framed(text)
    loop, beside, loop_again, beside_again = threads
    assert loop == loop_again
    assert loop not in (beside, beside_again)


@pytest.mark.parametrize("default_seconds", [0.0, 3600.0])
def test_a_timeout_of_nothing_has_passed(serve: Callable[..., Served], default_seconds: float) -> None:
    served = serve([unary("/test.Service/Method", slowly)], Options(default_timeout_seconds=default_seconds))
    with served.socket() as connection:
        peer = Peer(connection)
        peer.call(1, changed((b"grpc-timeout", b"0n")), body=None, end=False)
        assert peer.answer(1)[2][b"grpc-status"] == b"4"


def test_a_request_that_is_never_whole_ends_with_its_deadline(peer: Peer) -> None:
    peer.call(1, changed((b"grpc-timeout", b"100m")), body=HELLO[:7], end=False)
    assert peer.answer(1)[2][b"grpc-status"] == b"4"
    assert int.from_bytes(peer.receive(frames.RST_STREAM)[3]) == ErrorCode.NO_ERROR


def test_a_connection_holds_no_more_than_it_may(served: Served, peer: Peer) -> None:
    for stream_id in range(1, 15, 2):
        peer.call(stream_id, body=framed(bytes(1000))[:-1], end=False)
    assert peer.answer(11)[2][b"grpc-status"] == b"%d" % StatusCode.RESOURCE_EXHAUSTED
    peer.send(frames.rst_stream(1, ErrorCode.CANCEL))
    peer.call(21, body=framed(bytes(1000)))
    assert len(peer.answer(21)[1]) == 1005


def test_an_answer_waits_for_its_window(served: Served) -> None:
    with served.socket() as connection:
        peer = Peer(connection, settings=[(4, 3)])
        peer.call(1, body=HELLO)
        assert peer.receive(frames.DATA)[3] == HELLO[:3]
        peer.send(frames.window_update(1, 100))
        assert peer.receive(frames.DATA)[3] == HELLO[3:]
        assert peer.answer(1)[2] == {b"grpc-status": b"0"}


def test_what_was_held_is_let_go_of_when_calls_end(served: Served, peer: Peer) -> None:
    ends: dict[str, Callable[[int], None]] = {
        "whole": lambda id: peer.send(
            frames.frame(frames.DATA, frames.END_STREAM, id, framed(bytes(900))[500:])
        ),
        "cancelled": lambda id: peer.send(frames.rst_stream(id, ErrorCode.CANCEL)),
        "broken": lambda id: peer.send(frames.frame(frames.DATA, 0, id, bytes(405) + b"\2" + bytes(9))),
        "more than one": lambda id: peer.send(frames.frame(frames.DATA, 1, id, bytes(405) + framed(b"x"))),
    }
    for round, (name, end) in enumerate(list(ends.items()) * 3):
        stream_id = 2 * round + 1
        peer.call(stream_id, body=framed(bytes(900))[:500], end=False)
        end(stream_id)
        if name != "cancelled":
            peer.answer(stream_id)
    peer.call(101, body=HELLO)
    assert peer.answer(101)[1] == HELLO
    assert served.server.buffered_bytes == 0
