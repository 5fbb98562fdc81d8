"""Any bytes to a connection: the same end however they are cut, and no state that cannot be.

An input is ten octets of how, then what is received. The peer's preface stands in front of it unless bit 0
of the first octet is set; with bit 1, all octets come one by one. Four places follow where the bytes are cut,
two octets each; the last octet says, in 255ths, where the server answers what it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from struct import Struct

from tests.unit.http2.wire import HELLO, POST, parse

from lepton_http2 import frames
from lepton_http2.connection import Connection
from lepton_http2.errors import ErrorCode
from lepton_http2.events import DATA, REQUEST
from lepton_http2.frames import MAX_WINDOW
from lepton_http2.hpack import encode
from lepton_http2.limits import Limits
from lepton_http2.streams import Stream

__all__ = ["pack", "run"]

LIMITS = Limits(
    max_concurrent_streams=4,
    max_header_list_bytes=1000,
    stream_window_bytes=70_000,
    control_frames=50,
    resets=20,
    max_frame_bytes=1 << 14,
)

_HOW = Struct(">B4HB")
_BARE, _ONE_BY_ONE = 1, 2
_TRAILERS = encode([(b"grpc-status", b"0")])
# More than a stream's first window.
_LARGE = bytes(70_000)
# What a connection keeps of resets, in `connection`, and of blocks, in `blocks`.
_MOST_RESETS, _MOST_BLOCKS = 2048, 64
# A frame in return is at most twice as long as what it returns; GOAWAY and the greeting come on top.
_RETURNED, _ON_TOP_BYTES = 2, 300


def pack(
    received: bytes, *, flags: int = 0, cuts: tuple[int, int, int, int] = (0, 0, 0, 0), turn: int = 255
) -> bytes:
    """An input out of its parts."""
    return _HOW.pack(flags, *cuts, turn) + received


@dataclass
class Observed:
    """A connection, what it told, and what it sent."""

    connection: Connection = field(default_factory=lambda: Connection(LIMITS))
    told: list[tuple[int, int, bytes, bool]] = field(default_factory=list)
    """Neighbouring pieces of a DATA frame are put together."""
    sent: bytes = b""
    live: dict[int, Stream] = field(default_factory=dict)

    def feed(self, chunk: bytes) -> None:
        """Gives the connection a piece, and looks at it afterwards."""
        for kind, stream, payload, ended in self.connection.feed(chunk):
            last = self.told[-1] if self.told else None
            if kind == REQUEST:
                self.live[stream.id] = stream
            if kind == DATA and last is not None and last[:2] == (DATA, stream.id) and not last[3]:
                self.told[-1] = (DATA, stream.id, last[2] + bytes(payload), ended)
            else:
                self.told.append((kind, stream.id, bytes(payload), ended))
        self.sent += self.connection.data_to_send()
        check(self.connection)

    def answer(self) -> None:
        """Answers every request in a way of its own: whole, in pieces, not at all."""
        outbound = self.connection.outbound
        for stream in [] if self.connection.closed else list(self.connection.streams.values()):
            way = stream.id >> 1 & 3
            if way == 0:
                outbound.headers(stream, encode(POST[5:]))
                outbound.message(stream, _LARGE)
                outbound.end(stream, _TRAILERS)
            elif way == 1:
                outbound.headers(stream, _TRAILERS, end=True)
            elif way == 2:
                outbound.headers(stream, encode(POST[5:]))
                outbound.data(stream, _LARGE)
                if LIMITS.stream_window_bytes > stream.receive_window:
                    self.connection.consumed(stream, LIMITS.stream_window_bytes - stream.receive_window)
            else:
                self.connection.reset(stream, ErrorCode.CANCEL)
        self.sent += self.connection.data_to_send()
        check(self.connection)

    def end(self) -> tuple[object, ...]:
        """All that must not depend on how the bytes were cut."""
        connection = self.connection
        outbound = connection.outbound
        return (
            self.told,
            self.sent,
            connection.closed,
            connection.incomplete or connection.closed,
            {
                stream.id: (
                    stream.send_window,
                    stream.receive_window,
                    stream.ended,
                    stream.body_left,
                    stream.queued_bytes,
                )
                for stream in connection.streams.values()
            },
            (outbound.window, outbound.stream_window, outbound.max_frame, outbound.queued_bytes),
            (connection._control_allowance, connection._reset_allowance, connection._inbound.last_id),
        )


def check(connection: Connection) -> None:
    """What holds of a connection at any time."""
    outbound, inbound = connection.outbound, connection._inbound
    streams = connection.streams.values()
    # A connection that broke a rule has ended, whatever it counted then.
    if not connection.closed:
        assert 0 <= inbound._window <= MAX_WINDOW
        assert all(stream.receive_window >= 0 for stream in streams)
        assert len(inbound._rest) < max(inbound._needed, 1) <= frames.HEADER_BYTES + LIMITS.max_frame_bytes
        assert 0 <= outbound.window <= MAX_WINDOW
        assert all(stream.send_window <= MAX_WINDOW for stream in streams)
        assert not any(
            stream.queued_bytes and stream.send_window > 0 and outbound.window for stream in streams
        )
    assert len(streams) <= LIMITS.max_concurrent_streams
    assert outbound._waiting.keys() <= connection.streams.keys()
    assert outbound.queued_bytes == sum(stream.queued_bytes for stream in streams)
    assert len(connection._were_reset) <= _MOST_RESETS
    blocks = inbound._blocks
    assert len(blocks._partial) <= 2 * LIMITS.max_header_list_bytes
    assert blocks._decoder._used_bytes <= LIMITS.header_table_bytes
    assert len(blocks.memo) <= _MOST_BLOCKS


def check_sent(sent: bytes, *, closed: bool) -> None:
    """What holds of everything that a server sent."""
    found = parse(sent)
    assert closed == any(frame.kind == frames.GOAWAY for frame in found)
    ended: set[int] = set()
    begun: set[int] = set()
    for frame in found:
        if frame.kind == frames.GOAWAY:
            assert frame is found[-1]
        elif frame.kind == frames.RST_STREAM:
            ended.add(frame.stream_id)
        elif frame.kind in (frames.HEADERS, frames.DATA):
            assert frame.stream_id not in ended
            assert frame.kind == frames.HEADERS or frame.stream_id in begun
            begun.add(frame.stream_id)
            if frame.flags & frames.END_STREAM:
                ended.add(frame.stream_id)


def observe(chunks: list[bytes], turn: int) -> Observed:
    """Feeds a new connection; the server answers in front of the octet at `turn`."""
    observed = Observed()
    at = 0
    for chunk in chunks:
        if at <= turn < at + len(chunk):
            observed.feed(chunk[: turn - at])
            observed.answer()
            chunk, at = chunk[turn - at :], turn
        observed.feed(chunk)
        at += len(chunk)
    return observed


def run(data: bytes) -> None:
    """Runs an input.

    Raises:
        AssertionError: something does not hold.
    """
    if len(data) <= _HOW.size:
        return
    flags, *cuts, turn = _HOW.unpack_from(data)
    received = data[_HOW.size :]
    if not flags & _BARE:
        received = HELLO + received
    size = len(received)
    place = size * turn // 255
    if flags & _ONE_BY_ONE:
        edges = [*range(size + 1)]
    else:
        edges = [0, *sorted(cut % (size + 1) for cut in cuts), size]
    whole = observe([received], place)
    check_sent(whole.sent, closed=whole.connection.closed)
    if place == size:
        assert len(whole.sent) <= _RETURNED * size + _ON_TOP_BYTES
    pieces = observe([received[start:stop] for start, stop in pairwise(edges)], place)
    assert pieces.end() == whole.end()
