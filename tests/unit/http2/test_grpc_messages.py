"""Messages out of pieces, and out of gzip."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_http2.grpc.messages import Reassembly, compress, decompress
from lepton_http2.grpc.status import RpcError, StatusCode

from .wire import message

LIMIT = 40_000


def feed(reassembly: Reassembly, *pieces: bytes) -> list[tuple[bool, bytes]]:
    return [whole for piece in pieces for whole in reassembly.feed(memoryview(piece))]


def keep_or_feed(reassembly: Reassembly, *pieces: bytes) -> Iterator[tuple[bool, bytes]]:
    for piece in pieces:
        view = memoryview(piece)
        if reassembly.is_part(view):
            reassembly.keep(view)
        else:
            yield from reassembly.feed(view)


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=50) | st.just(bytes(LIMIT))), max_size=6),
    st.lists(st.integers(0, 200_000), max_size=8),
)
def test_messages_are_the_same_however_they_are_cut(
    messages: list[tuple[bool, bytes]], cuts: list[int]
) -> None:
    body = b"".join(message(text, compressed=compressed) for compressed, text in messages)
    ends = sorted(min(cut, len(body)) for cut in cuts)
    pieces = [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]
    for way in (feed, keep_or_feed):
        reassembly = Reassembly(LIMIT)
        assert [*way(reassembly, *pieces)] == messages
        assert reassembly.complete
        assert reassembly.buffered_bytes == 0


def test_what_is_not_whole_is_counted() -> None:
    reassembly = Reassembly(LIMIT)
    assert feed(reassembly, message(b"hello")[:-2]) == []
    assert reassembly.buffered_bytes == 3
    assert not reassembly.complete
    assert feed(reassembly, b"lo\0\0") == [(False, b"hello")]
    assert reassembly.buffered_bytes == 2
    assert not reassembly.complete


def test_a_message_of_nothing_is_whole_with_its_prefix() -> None:
    reassembly = Reassembly(LIMIT)
    assert feed(reassembly, bytes(5), bytes(4)) == [(False, b"")]
    assert feed(reassembly, bytes(1)) == [(False, b"")]


def test_small_pieces_do_not_hold_what_they_came_in() -> None:
    reassembly = Reassembly(LIMIT)
    received = bytearray(message(bytes(100)))
    assert list(reassembly.feed(memoryview(received)[:50])) == []
    # Fails where a view is still held.
    received.clear()


def test_frames_of_the_usual_size_are_not_copied_before_the_message_is_whole() -> None:
    reassembly = Reassembly(LIMIT)
    assert feed(reassembly, message(bytes(LIMIT))[:5]) == []
    received = bytearray(1 << 14)
    reassembly.keep(memoryview(received))
    with pytest.raises(BufferError):
        received.clear()


@pytest.mark.parametrize(
    ("prefix", "status"),
    [
        pytest.param(message(bytes(LIMIT + 1))[:5], StatusCode.RESOURCE_EXHAUSTED, id="too large"),
        pytest.param(b"\2\0\0\0\0", StatusCode.INTERNAL, id="unknown flag"),
    ],
)
def test_a_bad_prefix_is_refused_at_once(prefix: bytes, status: StatusCode) -> None:
    with pytest.raises(RpcError) as caught:
        feed(Reassembly(LIMIT), prefix)
    assert caught.value.code == status


@given(st.binary(max_size=2000))
def test_what_was_compressed_is_decompressed_again(text: bytes) -> None:
    assert decompress(compress(text), max_message_bytes=2000) == text


def test_no_more_is_decompressed_than_is_allowed() -> None:
    bomb = compress(bytes(10_000_000))
    with pytest.raises(RpcError) as caught:
        decompress(bomb, max_message_bytes=1000)
    assert caught.value.code == StatusCode.RESOURCE_EXHAUSTED
    assert len(decompress(compress(bytes(1000)), max_message_bytes=1000)) == 1000
