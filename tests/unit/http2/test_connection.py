"""What a connection does with frames, right and wrong ones."""

from collections.abc import Iterable

import pytest

from lepton_http2 import frames
from lepton_http2.connection import Connection
from lepton_http2.errors import ErrorCode
from lepton_http2.events import DATA, REQUEST, RESET, TRAILERS
from lepton_http2.frames import MAX_WINDOW
from lepton_http2.hpack import encode
from lepton_http2.limits import Limits
from lepton_http2.streams import Stream

from .wire import HELLO, POST, Frame, data, headers, parse

ACK = Frame(frames.SETTINGS, frames.ACK, 0, b"")


def greeted(limits: Limits | None = None, *settings: tuple[int, int]) -> Connection:
    """A connection whose peer has said hello, and whose own hello has been sent."""
    connection = Connection(limits)
    connection.feed(frames.PREFACE + frames.settings(settings))
    connection.data_to_send()
    return connection


def sent(connection: Connection) -> list[Frame]:
    return parse(connection.data_to_send())


def request(connection: Connection, stream_id: int = 1, *, end: bool = True) -> Stream:
    """Begins a request."""
    [(kind, stream, _, ended)] = connection.feed(headers(stream_id, end=end))
    assert (kind, ended) == (REQUEST, end)
    return stream


def test_it_says_its_settings_first_and_confirms_those_of_the_peer() -> None:
    connection = Connection(Limits(max_concurrent_streams=7))
    assert not connection.greeted
    connection.feed(HELLO)
    assert connection.greeted
    settings, window, ack = sent(connection)
    assert (settings.kind, settings.flags) == (frames.SETTINGS, 0)
    assert bytes([0, 3, 0, 0, 0, 7]) in settings.payload
    assert (window.kind, window.increment) == (frames.WINDOW_UPDATE, MAX_WINDOW - 65_535)
    assert ack == ACK


def test_a_request_comes_as_its_head_and_its_body() -> None:
    connection = greeted()
    events = connection.feed(headers(1) + data(1, b"one") + data(1, b"two", end=True))
    assert [(kind, bytes(payload), ended) for kind, _, payload, ended in events] == [
        (REQUEST, b"", False),
        (DATA, b"one", False),
        (DATA, b"two", True),
    ]
    head = events[0][1].request
    assert (head.method, head.path, head.scheme, head.authority) == (
        b"POST",
        b"/test.Service/Method",
        b"http",
        b"localhost",
    )
    assert [field[:2] for field in head.fields] == [*POST[4:]]


def test_requests_with_the_same_block_share_their_head() -> None:
    connection = greeted()
    first, second = request(connection, 1), request(connection, 3)
    assert first.request is second.request


def test_a_head_is_forgotten_when_its_indices_mean_something_else() -> None:
    connection = greeted()
    block = encode(POST[:4])
    add_one, add_other, newest = b"\x40\x01a\x01b", b"\x40\x01c\x01d", b"\xbe"

    def field(stream_id: int, addition: bytes) -> bytes:
        feed = frames.frame(frames.HEADERS, 5, stream_id, block + addition)
        return connection.feed(feed)[0][1].request.fields[-1][0]

    assert field(1, add_one) == b"a"
    assert field(3, newest) == b"a"
    assert field(5, newest) == b"a"
    assert field(7, add_other) == b"c"
    assert field(9, newest) == b"c"


def test_a_header_block_may_come_in_pieces() -> None:
    connection = greeted()
    block = encode(POST)
    events = connection.feed(
        frames.frame(frames.HEADERS, frames.END_STREAM, 1, block[:3])
        + frames.frame(frames.CONTINUATION, 0, 1, block[3:9])
        + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:])
    )
    assert [(kind, ended) for kind, _, _, ended in events] == [(REQUEST, True)]
    assert events[0][1].request.path == b"/test.Service/Method"


def test_padding_and_priorities_are_taken_off() -> None:
    connection = greeted()
    padded = frames.PADDED | frames.PRIORITY_FLAG | frames.END_HEADERS
    block = b"\x03" + bytes([0, 0, 0, 9, 16]) + encode(POST) + bytes(3)
    events = connection.feed(
        frames.frame(frames.HEADERS, padded, 1, block)
        + frames.frame(frames.DATA, frames.PADDED | frames.END_STREAM, 1, b"\x02body\0\0")
    )
    assert [(kind, bytes(payload)) for kind, _, payload, _ in events] == [(REQUEST, b""), (DATA, b"body")]


def test_trailers_end_a_request() -> None:
    connection = greeted()
    events = connection.feed(headers(1) + data(1, b"body") + headers(1, [(b"checksum", b"1")], end=True))
    assert [(kind, ended) for kind, _, _, ended in events] == [
        (REQUEST, False),
        (DATA, False),
        (TRAILERS, True),
    ]


def test_what_it_does_not_know_is_passed_over() -> None:
    connection = greeted()
    unknown = frames.frame(0x77, 0xFF, 5, b"something")
    assert connection.feed(unknown + frames.settings([(0x77, 1)])) == []
    assert sent(connection) == [ACK]
    assert connection.feed(unknown[:12]) == connection.feed(unknown[12:]) == []
    request(connection)


def test_pings_are_answered() -> None:
    connection = greeted()
    connection.feed(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert sent(connection) == [Frame(frames.PING, frames.ACK, 0, b"12345678")]


def test_it_asks_whether_the_peer_is_there() -> None:
    connection = greeted()
    connection.ping()
    [ping] = sent(connection)
    assert connection.ping_unanswered
    connection.feed(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    assert not connection.ping_unanswered


def test_a_request_that_the_peer_takes_back_is_told() -> None:
    connection = greeted()
    stream = request(connection)
    [(kind, lost, _, _)] = connection.feed(frames.rst_stream(1, ErrorCode.CANCEL))
    assert (kind, lost) == (RESET, stream)
    assert stream.closed
    assert connection.streams == {}
    assert sent(connection) == []


def test_more_requests_than_allowed_are_refused_and_may_come_again() -> None:
    connection = greeted(Limits(max_concurrent_streams=1))
    stream = request(connection, 1)
    assert connection.feed(headers(3, end=True)) == []
    [refusal] = sent(connection)
    assert (refusal.kind, refusal.stream_id, refusal.code) == (frames.RST_STREAM, 3, ErrorCode.REFUSED_STREAM)
    connection.outbound.end(stream)
    request(connection, 5)


def test_what_is_under_way_for_a_stream_that_was_reset_is_passed_over() -> None:
    connection = greeted()
    connection.reset(request(connection, end=False), ErrorCode.CANCEL)
    connection.data_to_send()
    assert connection.feed(data(1, b"more") + headers(1, [(b"a", b"b")], end=True)) == []
    assert sent(connection) == []


def test_a_peer_that_sends_on_after_the_answer_is_told_to_stop() -> None:
    connection = greeted()
    connection.outbound.headers(request(connection, end=False), encode([(b":status", b"200")]), end=True)
    assert [(frame.kind, frame.code) for frame in sent(connection)[1:]] == [
        (frames.RST_STREAM, ErrorCode.NO_ERROR)
    ]


def test_the_window_of_the_connection_is_given_back_now_and_then() -> None:
    connection = greeted()
    stream = request(connection, end=False)
    piece = data(1, bytes(1 << 20))
    for _ in range(16):
        connection.feed(piece)
    assert sent(connection) == []
    connection.feed(piece)
    [update] = sent(connection)
    assert (update.kind, update.stream_id, update.increment) == (frames.WINDOW_UPDATE, 0, 17 << 20)
    assert not stream.closed


def test_the_window_of_a_stream_is_given_back_when_half_of_it_was_read() -> None:
    connection = greeted(Limits(stream_window_bytes=100_000))
    stream = request(connection, end=False)
    connection.feed(data(1, bytes(99_000)))
    connection.consumed(stream, 49_999)
    assert sent(connection) == []
    connection.consumed(stream, 1)
    [update] = sent(connection)
    assert (update.stream_id, update.increment) == (1, 50_000)
    connection.feed(data(1, bytes(51_000)))
    assert sent(connection) == []


PAST = headers(1, end=True)
BEGUN = headers(1)


def fields(*changes: tuple[bytes, bytes], without: Iterable[bytes] = ()) -> list[tuple[bytes, bytes]]:
    """The fields of a request, with changes."""
    return [field for field in POST if field[0] not in without] + list(changes)


def large_block(size: int) -> bytes:
    return encode([*POST, (b"large", b"\xff" * size)], compress=False)


@pytest.mark.parametrize(
    ("received", "code"),
    [
        pytest.param(frames.frame(1, 4, 2, encode(POST)), ErrorCode.PROTOCOL_ERROR, id="even stream"),
        pytest.param(frames.frame(1, 4, 0, encode(POST)), ErrorCode.PROTOCOL_ERROR, id="headers on stream 0"),
        pytest.param(
            frames.frame(1, 0, 0, encode(POST)), ErrorCode.PROTOCOL_ERROR, id="part of it on stream 0"
        ),
        pytest.param(headers(5) + headers(3, end=True), ErrorCode.STREAM_CLOSED, id="lower stream"),
        pytest.param(frames.frame(1, 4, 1, b"\x80"), ErrorCode.COMPRESSION_ERROR, id="bad block"),
        pytest.param(frames.frame(9, 4, 1, b""), ErrorCode.PROTOCOL_ERROR, id="continuation of nothing"),
        pytest.param(frames.frame(1, 0, 1, b"") + data(1), ErrorCode.PROTOCOL_ERROR, id="interrupted block"),
        pytest.param(
            frames.frame(1, 0, 1, b"") + frames.frame(9, 4, 3, b""),
            ErrorCode.PROTOCOL_ERROR,
            id="another's block",
        ),
        pytest.param(
            frames.frame(1, 0x0C, 1, b"\xff\x82"), ErrorCode.PROTOCOL_ERROR, id="padding of headers"
        ),
        pytest.param(frames.frame(1, 0x24, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR, id="half a priority"),
        pytest.param(
            frames.frame(1, 0x24, 1, bytes([0, 0, 0, 1, 0])), ErrorCode.PROTOCOL_ERROR, id="own dependency"
        ),
        pytest.param(
            frames.frame(1, 4, 1, large_block(40_000)), ErrorCode.ENHANCE_YOUR_CALM, id="large block"
        ),
        pytest.param(
            frames.frame(1, 4, 1, large_block(40_000))[:100], ErrorCode.ENHANCE_YOUR_CALM, id="its beginning"
        ),
        pytest.param(
            frames.frame(1, 0, 1, bytes(30_000)) + frames.frame(9, 0, 1, bytes(3_000)),
            ErrorCode.ENHANCE_YOUR_CALM,
            id="large block in pieces",
        ),
        pytest.param(data(1), ErrorCode.PROTOCOL_ERROR, id="data before headers"),
        pytest.param(data(0, b"x"), ErrorCode.PROTOCOL_ERROR, id="data on stream 0"),
        pytest.param(
            BEGUN + frames.frame(0, 8, 1, b"\x03xx"), ErrorCode.PROTOCOL_ERROR, id="more padding than data"
        ),
        pytest.param(
            BEGUN + frames.frame(0, 8, 1, b""), ErrorCode.PROTOCOL_ERROR, id="padding without length"
        ),
        pytest.param(b"\x10\x00\x01\x00\x00\x00\x00\x00\x01", ErrorCode.FRAME_SIZE_ERROR, id="large frame"),
        pytest.param(frames.rst_stream(1, 8), ErrorCode.PROTOCOL_ERROR, id="reset of an idle stream"),
        pytest.param(frames.rst_stream(0, 8), ErrorCode.PROTOCOL_ERROR, id="reset of stream 0"),
        pytest.param(BEGUN + frames.frame(3, 0, 1, b"xxx"), ErrorCode.FRAME_SIZE_ERROR, id="short reset"),
        pytest.param(frames.frame(2, 0, 1, b"xxxx"), ErrorCode.FRAME_SIZE_ERROR, id="short priority"),
        pytest.param(frames.frame(2, 0, 0, b"xxxxx"), ErrorCode.PROTOCOL_ERROR, id="priority of stream 0"),
        pytest.param(frames.frame(4, 0, 1, b""), ErrorCode.PROTOCOL_ERROR, id="settings of a stream"),
        pytest.param(frames.frame(4, 0, 0, b"xxxxx"), ErrorCode.FRAME_SIZE_ERROR, id="part of a setting"),
        pytest.param(frames.frame(4, 1, 0, b"xxxxxx"), ErrorCode.FRAME_SIZE_ERROR, id="settings in an ack"),
        pytest.param(frames.settings([(2, 2)]), ErrorCode.PROTOCOL_ERROR, id="bad ENABLE_PUSH"),
        pytest.param(frames.settings([(4, 1 << 31)]), ErrorCode.FLOW_CONTROL_ERROR, id="bad window"),
        pytest.param(frames.settings([(5, 16_383)]), ErrorCode.PROTOCOL_ERROR, id="small MAX_FRAME_SIZE"),
        pytest.param(frames.settings([(5, 1 << 24)]), ErrorCode.PROTOCOL_ERROR, id="large MAX_FRAME_SIZE"),
        pytest.param(
            BEGUN + frames.window_update(1, MAX_WINDOW - 65_535) + frames.settings([(4, 65_536)]),
            ErrorCode.FLOW_CONTROL_ERROR,
            id="a setting that opens a window too far",
        ),
        pytest.param(frames.frame(5, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR, id="push"),
        pytest.param(frames.frame(6, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR, id="ping on a stream"),
        pytest.param(frames.frame(6, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR, id="short ping"),
        pytest.param(frames.frame(7, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR, id="goaway of a stream"),
        pytest.param(frames.frame(7, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR, id="short goaway"),
        pytest.param(frames.frame(8, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR, id="short window update"),
        pytest.param(frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR, id="window update by 0"),
        pytest.param(frames.window_update(1, 1), ErrorCode.PROTOCOL_ERROR, id="window of an idle stream"),
        pytest.param(
            frames.window_update(0, MAX_WINDOW), ErrorCode.FLOW_CONTROL_ERROR, id="window too large"
        ),
    ],
)
def test_a_fault_of_the_connection_ends_it(received: bytes, code: ErrorCode) -> None:
    connection = greeted()
    connection.feed(received)
    assert connection.closed
    last = sent(connection)[-1]
    assert (last.kind, last.code) == (frames.GOAWAY, code)
    assert connection.feed(headers(9, end=True)) == []


@pytest.mark.parametrize(
    ("received", "code"),
    [
        pytest.param(PAST + data(1, b"x"), ErrorCode.STREAM_CLOSED, id="data behind the end"),
        pytest.param(PAST + data(1), ErrorCode.STREAM_CLOSED, id="empty data behind the end"),
        pytest.param(PAST + headers(1, end=True), ErrorCode.STREAM_CLOSED, id="headers behind the end"),
        pytest.param(BEGUN + headers(1, [(b"a", b"b")]), ErrorCode.PROTOCOL_ERROR, id="trailers without end"),
        pytest.param(BEGUN + headers(1, end=True), ErrorCode.PROTOCOL_ERROR, id="pseudo-field in trailers"),
        pytest.param(
            BEGUN + frames.rst_stream(1, 8) + data(1), ErrorCode.STREAM_CLOSED, id="data after reset"
        ),
        pytest.param(BEGUN + frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR, id="window update by 0"),
        pytest.param(
            BEGUN + frames.window_update(1, MAX_WINDOW), ErrorCode.FLOW_CONTROL_ERROR, id="window too large"
        ),
        pytest.param(
            BEGUN + data(1, bytes(100_001)), ErrorCode.FLOW_CONTROL_ERROR, id="more than the window"
        ),
        *(
            pytest.param(
                headers(1, fields(*changes, without=without), end=True), ErrorCode.PROTOCOL_ERROR, id=id
            )
            for id, changes, without in [
                ("no method", [], [b":method"]),
                ("no path", [], [b":path"]),
                ("no scheme", [], [b":scheme"]),
                ("pseudo-field behind others", [(b":method", b"POST")], [b":method"]),
                ("response field", [(b":status", b"200")], []),
                ("unknown pseudo-field", [(b":x", b"")], []),
                ("upper case", [(b"Name", b"value")], []),
                ("space in a name", [(b"a b", b"value")], []),
                ("empty name", [(b"", b"value")], []),
                ("line feed in a value", [(b"a", b"b\nc")], []),
                ("nul in a value", [(b"a", b"b\0c")], []),
                ("space before a value", [(b"a", b" b")], []),
                ("space behind a value", [(b"a", b"b\t")], []),
                ("connection", [(b"connection", b"close")], []),
                ("transfer-encoding", [(b"transfer-encoding", b"chunked")], []),
                ("te", [(b"te", b"gzip")], []),
                ("another host", [(b"host", b"elsewhere")], []),
                ("content-length", [(b"content-length", b"1")], []),
                ("no content-length", [(b"content-length", b"x")], []),
                ("two content-lengths", [(b"content-length", b"0"), (b"content-length", b"1")], []),
            ]
        ),
        pytest.param(
            headers(1, [(b":path", b""), *POST], end=True), ErrorCode.PROTOCOL_ERROR, id="empty path"
        ),
        pytest.param(
            headers(1, [(b":method", b"GET"), *POST], end=True), ErrorCode.PROTOCOL_ERROR, id="two methods"
        ),
        pytest.param(
            headers(1, [(b":method", b"CONNECT"), *POST[1:]], end=True),
            ErrorCode.PROTOCOL_ERROR,
            id="odd CONNECT",
        ),
        pytest.param(
            headers(1, [(b":path", b"nowhere"), *fields(without=[b":path"])], end=True),
            ErrorCode.PROTOCOL_ERROR,
            id="path without slash",
        ),
        pytest.param(
            headers(1, fields((b"content-length", b"3"))) + data(1, b"four"),
            ErrorCode.PROTOCOL_ERROR,
            id="more than the content-length",
        ),
        pytest.param(
            headers(1, fields((b"content-length", b"3"))) + data(1, b"to", end=True),
            ErrorCode.PROTOCOL_ERROR,
            id="less than the content-length",
        ),
        pytest.param(
            headers(1, fields((b"content-length", b"3"))) + headers(1, [(b"a", b"b")], end=True),
            ErrorCode.PROTOCOL_ERROR,
            id="trailers in place of content",
        ),
    ],
)
def test_a_fault_of_a_stream_ends_it_alone(received: bytes, code: ErrorCode) -> None:
    connection = greeted(Limits(stream_window_bytes=100_000))
    connection.feed(received)
    assert not connection.closed
    assert connection.streams == {}
    last = sent(connection)[-1]
    assert (last.kind, last.stream_id, last.code) == (frames.RST_STREAM, 1, code)
    request(connection, 3)


def test_the_rest_of_data_that_is_not_wanted_is_passed_over() -> None:
    connection = greeted(Limits(stream_window_bytes=100_000))
    large = data(1, bytes(100_001))
    assert [kind for kind, *_ in connection.feed(BEGUN + large[:20])] == [REQUEST, RESET]
    assert [frame.code for frame in sent(connection)] == [ErrorCode.FLOW_CONTROL_ERROR]
    assert connection.feed(large[20:50_000]) == []
    assert [kind for kind, *_ in connection.feed(large[50_000:] + headers(3, end=True))] == [REQUEST]


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP/1.1"),
        pytest.param(frames.PREFACE + frames.frame(6, 0, 0, bytes(8)), id="no settings first"),
        pytest.param(frames.PREFACE + frames.SETTINGS_ACK, id="an ack first"),
    ],
)
def test_a_peer_that_does_not_say_hello_is_not_talked_to(received: bytes) -> None:
    connection = Connection()
    connection.feed(received)
    assert connection.closed
    assert sent(connection)[-1].code == ErrorCode.PROTOCOL_ERROR


def test_a_header_list_beyond_the_limit_is_cut_and_told() -> None:
    connection = greeted(Limits(max_header_list_bytes=1000))
    block = [*POST, *((b"name", b"%d" % number) for number in range(50))]
    stream = connection.feed(headers(1, block, end=True))[0][1]
    assert stream.request.oversized
    assert len(stream.request.fields) < 30


FLOOD = Limits(control_frames=100, resets=100)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(frames.frame(6, 0, 0, bytes(8)), id="ping"),
        pytest.param(frames.settings([]), id="settings"),
        pytest.param(frames.window_update(0, 1), id="window update"),
        pytest.param(frames.frame(2, 0, 9, bytes(5)), id="priority"),
        pytest.param(frames.frame(0x77, 0, 0), id="unknown"),
        pytest.param(data(1), id="empty data"),
        pytest.param(frames.frame(0, 8, 1, b"\0"), id="data of padding"),
        pytest.param(frames.rst_stream(1, 8), id="reset of the same stream"),
    ],
)
def test_floods_end_the_connection(frame: bytes) -> None:
    connection = greeted(FLOOD)
    connection.feed(BEGUN)
    connection.feed(frame * 90)
    assert not connection.closed
    connection.relax()
    connection.feed(frame * 90)
    assert not connection.closed
    connection.feed(frame * 90)
    assert connection.closed
    assert sent(connection)[-1].code == ErrorCode.ENHANCE_YOUR_CALM


def test_one_frame_of_many_settings_is_a_flood_too() -> None:
    connection = greeted(FLOOD)
    connection.feed(frames.settings([(0x77, 0)] * 101))
    assert sent(connection)[-1].code == ErrorCode.ENHANCE_YOUR_CALM


def test_requests_that_are_taken_back_at_once_end_the_connection() -> None:
    connection = greeted(Limits(resets=100))
    ids = range(1, 1000, 2)
    connection.feed(b"".join(headers(id, end=True) + frames.rst_stream(id, 8) for id in ids))
    assert connection.closed
    assert sent(connection)[-1].code == ErrorCode.ENHANCE_YOUR_CALM


def test_answers_pay_for_requests_that_are_taken_back() -> None:
    connection = greeted(Limits(resets=10))
    for id in range(1, 2000, 4):
        connection.outbound.end(request(connection, id))
        connection.feed(headers(id + 2, end=True) + frames.rst_stream(id + 2, 8))
    assert not connection.closed


def test_a_header_block_of_empty_pieces_is_a_flood() -> None:
    connection = greeted(FLOOD)
    connection.feed(frames.frame(1, 0, 1, b"") + frames.frame(9, 0, 1, b"") * 101)
    assert sent(connection)[-1].code == ErrorCode.ENHANCE_YOUR_CALM


def test_a_drain_takes_what_is_under_way_and_then_ends() -> None:
    connection = greeted()
    first = request(connection, 1)
    connection.drain()
    goaway, ping = sent(connection)
    assert (goaway.kind, goaway.code) == (frames.GOAWAY, ErrorCode.NO_ERROR)
    assert int.from_bytes(goaway.payload[:4]) == MAX_WINDOW
    # Sent before the peer read that.
    second = request(connection, 3)
    connection.feed(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    [goaway] = sent(connection)
    assert int.from_bytes(goaway.payload[:4]) == 3
    assert connection.feed(headers(5, end=True)) == []
    connection.outbound.end(first)
    assert not connection.closed
    connection.outbound.end(second)
    assert connection.closed


def test_a_drain_without_requests_ends_with_the_peers_word() -> None:
    connection = greeted()
    connection.drain()
    connection.drain()
    _, ping = sent(connection)
    assert not connection.closed
    connection.feed(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    assert connection.closed


def test_a_lost_connection_gives_up_its_requests() -> None:
    connection = greeted()
    streams = [request(connection, 1), request(connection, 3, end=False)]
    assert connection.abandon() == streams
    assert all(stream.closed for stream in streams)
