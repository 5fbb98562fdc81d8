"""Any bytes to a gRPC session: calls end, nothing is left behind, and no handler meets what it should not.

An input is four octets, then what is received behind the peer's preface: three places, in 255ths, where the
bytes are cut and handlers run, and one octet that is not 0 if the clock then runs on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from itertools import pairwise
from typing import Any

from tests.unit.http2.wire import HELLO, Fields, parse

from lepton_http2 import frames
from lepton_http2.grpc import methods
from lepton_http2.grpc.call import Call
from lepton_http2.grpc.deadlines import Deadlines
from lepton_http2.grpc.options import Options
from lepton_http2.grpc.session import Session
from lepton_http2.grpc.status import RpcError, StatusCode

__all__ = ["pack", "run"]

OPTIONS = Options(
    max_message_bytes=1000,
    max_buffered_bytes=3000,
    max_concurrent_calls=4,
    max_metadata_bytes=1000,
    max_frame_bytes=1 << 14,
    control_frames_per_second=50,
    resets_per_second=20,
)

_HOW_BYTES = 4
# What handlers get of the loop between two pieces: each step of each of them takes a turn.
_TURNS = 12
_REFUSED = b"no"


def pack(received: bytes, *, cuts: tuple[int, int, int] = (0, 0, 0), late: bool = False) -> bytes:
    """An input out of its parts."""
    return bytes([*cuts, late]) + received


def answer(message: bytes) -> bytes:
    """The same again, unless it is one that is refused."""
    if message.startswith(_REFUSED):
        raise RpcError(
            StatusCode.INVALID_ARGUMENT, message.decode("latin-1"), metadata=[("why-bin", message)]
        )
    return message


def at_once(call: Call, message: bytes) -> bytes:
    """Answers in the turn in which the request is whole."""
    assert call.metadata is not None
    return answer(message)


async def later(call: Call, message: bytes) -> bytes:
    """Answers in a turn of its own, compressed."""
    call.compress = True
    call.set_trailing_metadata([("turn", "later")])
    return answer(message)


async def many(call: Call, message: bytes) -> AsyncIterator[bytes]:
    """Answers three times."""
    call.send_metadata([("times", "3")])
    for _ in range(3):
        yield answer(message)


async def joined(call: Call, requests: AsyncIterator[bytes]) -> bytes:
    """Answers all messages with one."""
    return b"".join([answer(message) async for message in requests])


async def each(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Answers every message."""
    async for message in requests:
        yield answer(message)


METHODS = {
    method.path.encode(): method
    for method in (
        methods.direct("/f/d", at_once),
        methods.unary("/f/u", later),
        methods.server_streaming("/f/s", many),
        methods.client_streaming("/f/c", joined),
        methods.bidirectional("/f/b", each),
    )
}


class Carrier:
    """A host that does no I/O."""

    peer = "ipv4:127.0.0.1:1"
    peer_certificate: dict[str, Any] | None = None

    def __init__(self) -> None:
        self.deadlines = Deadlines(asyncio.get_running_loop())
        self.tasks: set[asyncio.Task[None]] = set()
        self.session = Session(METHODS, OPTIONS, self)
        self.sent = b""

    def flush(self) -> None:
        """Takes what is to be sent."""
        self.session.flushing = False
        self.session.unflushed_bytes = 0
        self.sent += self.session.data_to_send()

    def flush_soon(self) -> None:
        """Nothing is needed: it is taken after every piece."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a handler."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        return task


def check(session: Session) -> None:
    """What holds of a session at any time."""
    held = 0
    for call in session.streams.values():
        assert isinstance(call, Call)
        assert call.receive_window >= 0 or session.closed
        if call.reassembly is not None:
            assert call.inbox is not None
            held += call.reassembly.buffered_bytes + sum(len(message) for message, _ in call.inbox)
    assert held == session.buffered_bytes
    # The piece that goes beyond has been taken when the call ends for it.
    assert session.buffered_bytes <= OPTIONS.max_buffered_bytes


def check_sent(sent: bytes) -> None:
    """What holds of everything that was sent: every call ends once, with a status of gRPC or of HTTP."""
    read = Fields()
    ended: set[int] = set()
    for frame in parse(sent):
        if frame.kind == frames.RST_STREAM:
            ended.add(frame.stream_id)
        if frame.kind not in (frames.HEADERS, frames.DATA):
            continue
        assert frame.stream_id not in ended
        fields = read(frame.payload) if frame.kind == frames.HEADERS else {}
        assert b"grpc-status" not in fields or 0 <= int(fields[b"grpc-status"]) <= 16
        if frame.flags & frames.END_STREAM:
            ended.add(frame.stream_id)
            if frame.kind == frames.HEADERS:
                assert b"grpc-status" in fields or b":status" in fields


async def converse(chunks: list[bytes], *, late: bool) -> None:
    """Gives the chunks to a session, one after the other, and then breaks the connection off."""
    loop = asyncio.get_running_loop()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    host = Carrier()
    session = host.session
    for chunk in chunks:
        session.receive(chunk, loop.time())
        check(session)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        host.flush()
        check(session)
    if late:
        session.end_late(loop.time())
        session.end_late(loop.time() + OPTIONS.request_seconds + 1)
        session.let_go()
        host.flush()
        check(session)
    check_sent(host.sent)
    session.lost()
    await asyncio.gather(*host.tasks, return_exceptions=True)
    assert all(task.cancelled() or task.exception() is None for task in host.tasks)
    assert not session.streams
    assert session.buffered_bytes == 0
    assert not failures, failures


class Complaints(logging.Handler):
    """Keeps what is logged: a handler of ours that failed met what a session should have kept from it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record."""
        self.records.append(record)


def run(data: bytes) -> None:
    """Runs an input.

    Raises:
        AssertionError: something does not hold.
    """
    if len(data) < _HOW_BYTES:
        return
    *cuts, late = data[:_HOW_BYTES]
    received = HELLO + data[_HOW_BYTES:]
    edges = [0, *sorted(len(received) * cut // 255 for cut in cuts), len(received)]
    complaints = Complaints()
    logger = logging.getLogger("lepton_http2")
    logger.addHandler(complaints)
    propagated, logger.propagate = logger.propagate, False
    try:
        asyncio.run(converse([received[start:stop] for start, stop in pairwise(edges)], late=late != 0))
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagated
    assert not complaints.records, complaints.records[0].getMessage()
