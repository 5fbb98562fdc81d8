"""What a peer's windows let through, and in which order."""

import pytest

from lepton_http2 import frames
from lepton_http2.connection import Connection
from lepton_http2.hpack import Decoder, encode
from lepton_http2.sending import Answer
from lepton_http2.streams import Stream

from .wire import HELLO, Frame, headers, parse

STATUS = encode([(b":status", b"200")])
DONE = encode([(b"grpc-status", b"0")])


def serving(stream_count: int, *settings: tuple[int, int]) -> tuple[Connection, list[Stream]]:
    """A connection with requests that are whole."""
    connection = Connection()
    connection.feed(HELLO + frames.settings(settings))
    ids = range(1, 2 * stream_count, 2)
    events = connection.feed(b"".join(headers(id, end=True) for id in ids))
    connection.data_to_send()
    return connection, [stream for _, stream, _, _ in events]


def sent(connection: Connection) -> list[Frame]:
    return parse(connection.data_to_send())


def sizes(connection: Connection) -> list[tuple[int, int]]:
    """Stream and size of each DATA frame that is sent."""
    found = sent(connection)
    return [(frame.stream_id, len(frame.payload)) for frame in found if frame.kind == frames.DATA]


def test_a_small_answer_goes_out_in_three_frames_at_once() -> None:
    connection, [stream] = serving(1)
    connection.outbound.answer(stream, Answer(STATUS, DONE), b"hello")
    assert sent(connection) == [
        Frame(frames.HEADERS, frames.END_HEADERS, 1, STATUS),
        Frame(frames.DATA, 0, 1, b"\0\0\0\0\5hello"),
        Frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, DONE),
    ]
    assert stream.closed


@pytest.mark.parametrize("size", [16_379, 16_380, 65_530, 65_531, 100_000])
def test_an_answer_is_the_same_however_it_must_be_cut(size: int) -> None:
    connection, [stream] = serving(1)
    body = bytes(range(256)) * (size // 256 + 1)
    connection.outbound.answer(stream, Answer(STATUS, DONE), body[:size])
    found = sent(connection)
    connection.feed(frames.window_update(0, size) + frames.window_update(1, size))
    found += sent(connection)
    framed = b"\0" + size.to_bytes(4) + body[:size]
    assert b"".join(frame.payload for frame in found if frame.kind == frames.DATA) == framed
    assert all(len(frame.payload) <= 16_384 for frame in found)
    assert [frame.payload for frame in found if frame.kind == frames.HEADERS] == [STATUS, DONE]
    assert found[-1].flags & frames.END_STREAM
    assert stream.closed
    assert connection.outbound.queued_bytes == 0


def test_data_waits_for_the_window_of_its_stream() -> None:
    connection, [first, second] = serving(2, (4, 10))
    connection.outbound.data(first, bytes(25))
    connection.outbound.data(second, bytes(5))
    assert sizes(connection) == [(1, 10), (3, 5)]
    connection.feed(frames.window_update(1, 7))
    assert sizes(connection) == [(1, 7)]
    assert first.queued_bytes == connection.outbound.queued_bytes == 8


def test_streams_share_the_window_of_the_connection() -> None:
    connection, streams = serving(2, (4, 1 << 20))
    for stream in streams:
        connection.outbound.data(stream, bytes(65_536))
    assert sum(size for _, size in sizes(connection)) == 65_535
    connection.feed(frames.window_update(0, 32_768))
    # The first has one octet left, the second all.
    assert sizes(connection) == [(1, 1), (3, 16_384), (3, 16_383)]
    connection.outbound.data(streams[0], bytes(40_000))
    connection.feed(frames.window_update(0, 65_536))
    assert sizes(connection) == [(3, 16_384), (1, 16_384), (3, 16_384), (1, 16_384)]


def test_a_smaller_initial_window_can_make_windows_negative() -> None:
    connection, [stream] = serving(1, (4, 10))
    connection.outbound.data(stream, bytes(30))
    assert sizes(connection) == [(1, 10)]
    connection.feed(frames.settings([(4, 3)]))
    connection.feed(frames.window_update(1, 7))
    assert sizes(connection) == []
    connection.feed(frames.window_update(1, 2))
    assert sizes(connection) == [(1, 2)]
    connection.feed(frames.settings([(4, 100)]))
    assert sizes(connection) == [(1, 18)]


def test_settings_are_confirmed_before_the_data_that_they_let_through() -> None:
    connection, [stream] = serving(1, (4, 0))
    connection.outbound.data(stream, b"x")
    connection.feed(frames.settings([(4, 1)]))
    assert [frame.kind for frame in sent(connection)] == [frames.SETTINGS, frames.DATA]


def test_trailers_wait_for_the_data() -> None:
    connection, [stream] = serving(1, (4, 1))
    connection.outbound.headers(stream, STATUS)
    connection.outbound.data(stream, b"ab")
    connection.outbound.end(stream, DONE)
    assert [frame.kind for frame in sent(connection)] == [frames.HEADERS, frames.DATA]
    assert not stream.closed
    connection.feed(frames.window_update(1, 1))
    assert [frame.kind for frame in sent(connection)] == [frames.DATA, frames.HEADERS]
    assert stream.closed


def test_a_stream_without_trailers_ends_with_an_empty_frame() -> None:
    connection, [stream] = serving(1)
    connection.outbound.data(stream, b"ab")
    connection.outbound.end(stream)
    assert sent(connection)[-1] == Frame(frames.DATA, frames.END_STREAM, 1, b"")


def test_what_waits_is_dropped_with_its_stream() -> None:
    connection, [first, second] = serving(2, (4, 1 << 20))
    connection.outbound.data(first, bytes(100_000))
    connection.outbound.data(second, bytes(10))
    connection.data_to_send()
    connection.feed(frames.rst_stream(1, 8))
    assert connection.outbound.queued_bytes == 10
    connection.feed(frames.window_update(0, 65_535))
    assert sizes(connection) == [(3, 10)]


def test_a_large_header_block_is_cut() -> None:
    connection, [stream] = serving(1)
    block = encode([(b":status", b"200"), (b"large", b"x" * 40_000)], compress=False)
    connection.outbound.headers(stream, block, end=True)
    found = sent(connection)
    assert [frame.kind for frame in found] == [frames.HEADERS, frames.CONTINUATION, frames.CONTINUATION]
    assert [frame.flags for frame in found] == [frames.END_STREAM, 0, frames.END_HEADERS]
    assert b"".join(frame.payload for frame in found) == block


def test_a_smaller_table_of_the_peer_is_confirmed_once() -> None:
    connection, streams = serving(2, (1, 0))
    for stream in streams:
        connection.outbound.answer(stream, Answer(STATUS, DONE), b"hello")
    blocks = [frame.payload for frame in sent(connection) if frame.kind == frames.HEADERS]
    assert blocks == [b"\x20" + STATUS, DONE, STATUS, DONE]
    decoder = Decoder(0, lambda name, value: 0)
    assert [len(decoder.decode(block)) for block in blocks] == [1, 1, 1, 1]


def test_larger_frames_are_used_when_the_peer_takes_them() -> None:
    connection, [stream] = serving(1, (4, 1 << 20), (5, 1 << 20))
    connection.feed(frames.window_update(0, 1 << 20))
    connection.outbound.answer(stream, Answer(STATUS, DONE), bytes(200_000))
    assert sizes(connection) == [(1, 200_005)]
