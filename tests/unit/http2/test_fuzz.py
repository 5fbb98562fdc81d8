"""Whatever comes, however it is cut: the same events, no exception, and nothing that grows."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lepton_http2 import frames
from lepton_http2.connection import Connection
from lepton_http2.errors import ErrorCode
from lepton_http2.events import DATA, REQUEST, RESET, TRAILERS
from lepton_http2.hpack import encode
from lepton_http2.limits import Limits
from lepton_http2.streams import Stream

from .wire import HELLO, POST, data, headers, parse

Seen = list[tuple[int, int, bytes, bool]]

SMALL = Limits(
    max_concurrent_streams=4,
    max_header_list_bytes=1000,
    stream_window_bytes=70_000,
    control_frames=50,
    resets=20,
    max_frame_bytes=1 << 14,
)

BLOCKS = st.one_of(
    st.sampled_from(
        [
            encode(POST),
            encode([*POST, (b"content-length", b"3")]),
            encode([(b"trailer", b"1")]),
            b"\x40\x01a\x01b",
            b"\xbe" * 300,
            b"\x20",
        ]
    ),
    st.binary(max_size=30),
)
CONNECTION_FRAMES = st.sampled_from(
    [
        frames.settings([(4, 0)]),
        frames.settings([(4, 100_000), (5, 20_000), (1, 0)]),
        frames.SETTINGS_ACK,
        frames.frame(frames.PING, 0, 0, b"12345678"),
        frames.window_update(0, 1000),
        frames.goaway(0, 0),
    ]
)


@st.composite
def a_request(draw: st.DrawFn, stream_id: int) -> bytes:
    """The head of a request, in one frame or two."""
    flags = draw(st.sampled_from([4, 4, 4, 4, 5, 0x2C, 0]))
    block = encode(draw(st.sampled_from([POST, POST, (*POST, (b"content-length", b"9"))])))
    prefix = bytes(6) if flags & frames.PADDED else b""
    sent = frames.frame(frames.HEADERS, flags, stream_id, prefix + block)
    if not flags & frames.END_HEADERS:
        sent += frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream_id, draw(BLOCKS))
    return sent


@st.composite
def a_body(draw: st.DrawFn, stream_id: int) -> bytes:
    """A piece of a body, padded or not."""
    ends = draw(st.booleans())
    body = draw(st.binary(max_size=40))
    padding = draw(st.sampled_from([None, None, None, 0, 5]))
    if padding is None:
        return data(stream_id, body, end=ends)
    flags = frames.PADDED | (frames.END_STREAM if ends else 0)
    return frames.frame(frames.DATA, flags, stream_id, bytes([padding]) + body + bytes(padding))


@st.composite
def anything(draw: st.DrawFn) -> bytes:
    """A frame that may make no sense."""
    kind = draw(st.sampled_from([frames.HEADERS, frames.CONTINUATION]) | st.integers(0, 255))
    flags = draw(st.sampled_from([0, 1, 4, 5]) | st.integers(0, 255))
    return frames.frame(kind, flags, draw(st.integers(0, 9)), draw(BLOCKS))


@st.composite
def a_conversation(draw: st.DrawFn) -> list[bytes]:
    """Requests that begin one after the other, with what belongs to them, and now and then something else."""
    last = 1
    sent = [draw(a_request(1))]
    for _ in range(draw(st.integers(0, 24))):
        stream_id = draw(st.sampled_from([last, last, last, max(last - 2, 1)]))
        if draw(st.integers(0, 15)) == 15:
            sent.append(draw(anything()))
            continue
        kind = draw(st.sampled_from("hhhhddddddddddtwfx"))
        if kind == "h":
            last += 2
            sent.append(draw(a_request(last)))
        elif kind == "d":
            sent.append(draw(a_body(stream_id)))
        elif kind == "t":
            sent.append(headers(stream_id, [(b"trailer", b"1")], end=True))
        elif kind == "w":
            sent.append(frames.window_update(stream_id, draw(st.integers(1, 1000))))
        elif kind == "x":
            sent.append(frames.rst_stream(stream_id, draw(st.integers(0, 20))))
        else:
            sent.append(draw(CONNECTION_FRAMES))
    return sent


def observe(chunks: list[bytes]) -> tuple[Seen, bytes, bool]:
    """What a connection tells and sends; neighbouring pieces of a DATA frame are put together."""
    connection = Connection(SMALL)
    seen: Seen = []
    sent = b""
    for chunk in chunks:
        for kind, stream, payload, ended in connection.feed(chunk):
            last = seen[-1] if seen else None
            if kind == DATA and last is not None and last[:2] == (DATA, stream.id) and not last[3]:
                seen[-1] = (DATA, stream.id, last[2] + bytes(payload), ended)
            else:
                seen.append((kind, stream.id, bytes(payload), ended))
        sent += connection.data_to_send()
    return seen, sent, connection.closed


@given(a_conversation(), st.data())
@settings(max_examples=300, deadline=None)
def test_the_events_do_not_depend_on_how_bytes_are_cut(received: list[bytes], choice: st.DataObject) -> None:
    stream = HELLO + b"".join(received)
    cuts = sorted(choice.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert observe(chunks) == observe([stream])


@given(a_conversation())
@settings(max_examples=100, deadline=None)
def test_nor_whether_they_come_one_by_one(received: list[bytes]) -> None:
    stream = HELLO + b"".join(received)
    assert observe([bytes([octet]) for octet in stream]) == observe([stream])


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_octets_are_taken_or_refused(received: bytes, hello: bool) -> None:
    _, sent, closed = observe([HELLO + received if hello else received])
    found = parse(sent)
    assert closed == any(frame.kind == frames.GOAWAY for frame in found)


class Peer(RuleBasedStateMachine):
    """A peer that keeps to the rules, and a server that answers or does not. Both sides count alike."""

    @initialize()
    def greet(self) -> None:
        self.connection = Connection(SMALL)
        self.connection.feed(HELLO)
        self.next_id = 1
        # What the peer holds of each stream: what is not ended by it, and what it may still get.
        self.open: set[int] = set()
        self.windows: dict[int, int] = {}
        self.window = 65_535
        self.streams: dict[int, Stream] = {}
        self.credit: dict[int, int] = {}
        self.ended: set[int] = set()
        self.take_sent()

    def take_sent(self) -> None:
        for frame in parse(self.connection.data_to_send()):
            if frame.kind == frames.DATA:
                self.window -= len(frame.payload)
                self.windows[frame.stream_id] -= len(frame.payload)
                assert self.window >= 0
                assert self.windows[frame.stream_id] >= 0
            elif frame.kind == frames.WINDOW_UPDATE and frame.stream_id:
                self.credit[frame.stream_id] += frame.increment
            elif frame.kind == frames.RST_STREAM:
                self.gone(frame.stream_id)
            assert frame.kind != frames.GOAWAY, frame
            if frame.stream_id and frame.kind != frames.RST_STREAM and frame.flags & frames.END_STREAM:
                assert frame.stream_id not in self.ended
                self.ended.add(frame.stream_id)
                self.streams.pop(frame.stream_id, None)

    def gone(self, stream_id: int) -> None:
        self.streams.pop(stream_id, None)
        self.open.discard(stream_id)

    def feed(self, received: bytes, *kinds: int) -> list[Stream]:
        events = self.connection.feed(received)
        assert [event[0] for event in events] == list(kinds)
        return [event[1] for event in events]

    @rule(end=st.booleans(), extra=st.integers(0, 3))
    def begin(self, end: bool, extra: int) -> None:
        stream_id, self.next_id = self.next_id, self.next_id + 2
        block = headers(stream_id, [*POST, (b"extra", b"%d" % extra)], end=end)
        self.windows[stream_id] = 65_535
        self.credit[stream_id] = SMALL.stream_window_bytes
        if len(self.streams) == SMALL.max_concurrent_streams:
            self.feed(block)
        else:
            [self.streams[stream_id]] = self.feed(block, REQUEST)
            if not end:
                self.open.add(stream_id)
        self.take_sent()

    @precondition(lambda self: self.open)
    @rule(choice=st.data(), size=st.integers(8000, 16_384), end=st.sampled_from([False, False, False, True]))
    def upload(self, choice: st.DataObject, size: int, end: bool) -> None:
        stream_id = choice.draw(st.sampled_from(sorted(self.open)))
        size = min(size, self.credit[stream_id])
        if not size:
            return
        self.credit[stream_id] -= size
        [stream] = self.feed(data(stream_id, bytes(size), end=end), DATA)
        if end:
            self.open.discard(stream_id)
        self.connection.consumed(stream, size)
        self.take_sent()
        assert end or self.credit[stream_id] > SMALL.stream_window_bytes // 2 - size

    @precondition(lambda self: self.open)
    @rule(choice=st.data())
    def trail(self, choice: st.DataObject) -> None:
        stream_id = choice.draw(st.sampled_from(sorted(self.open)))
        self.feed(headers(stream_id, [(b"trailer", b"1")], end=True), TRAILERS)
        self.open.discard(stream_id)
        self.take_sent()

    @precondition(lambda self: self.streams)
    @rule(choice=st.data())
    def cancel(self, choice: st.DataObject) -> None:
        stream_id = choice.draw(st.sampled_from(sorted(self.streams)))
        self.feed(frames.rst_stream(stream_id, ErrorCode.CANCEL), RESET)
        self.gone(stream_id)
        self.connection.relax()
        self.take_sent()

    @precondition(lambda self: self.streams)
    @rule(choice=st.data(), size=st.integers(0, 50_000), end=st.sampled_from([False, False, True]))
    def answer(self, choice: st.DataObject, size: int, end: bool) -> None:
        stream = self.streams[choice.draw(st.sampled_from(sorted(self.streams)))]
        if stream.trailers is None:
            self.connection.outbound.data(stream, bytes(size))
            if end:
                self.connection.outbound.end(stream, encode([(b"grpc-status", b"0")]))
        self.take_sent()

    @rule(increment=st.integers(1, 100_000))
    def grant(self, increment: int) -> None:
        self.window += increment
        self.feed(frames.window_update(0, increment))
        self.connection.relax()
        self.take_sent()

    @precondition(lambda self: self.streams)
    @rule(choice=st.data(), increment=st.integers(1, 100_000))
    def grant_stream(self, choice: st.DataObject, increment: int) -> None:
        stream_id = choice.draw(st.sampled_from(sorted(self.streams)))
        self.windows[stream_id] += increment
        self.feed(frames.window_update(stream_id, increment))
        self.take_sent()

    @invariant()
    def both_know_the_same_streams(self) -> None:
        if hasattr(self, "connection"):
            assert set(self.connection.streams) == set(self.streams)

    @invariant()
    def nothing_waits_that_could_go(self) -> None:
        if not hasattr(self, "connection"):
            return
        for stream_id, stream in self.streams.items():
            assert stream.send_window == self.windows[stream_id]
            assert not stream.queued_bytes or not (self.window and self.windows[stream_id])
        waiting = sum(stream.queued_bytes for stream in self.streams.values())
        assert waiting == self.connection.outbound.queued_bytes


TestPeer = Peer.TestCase
TestPeer.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
