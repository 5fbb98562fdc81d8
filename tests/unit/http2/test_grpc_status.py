"""Statuses and metadata as header fields."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_http2.grpc.status import RpcError, encode_metadata, error_block, trailers_block
from lepton_http2.requests import classify

from .wire import Fields

_MALFORMED = -1


@given(st.text(max_size=60))
def test_a_message_is_told_in_printable_ascii(message: str) -> None:
    fields = Fields()(trailers_block(13, message))
    value = fields.get(b"grpc-message", b"")
    assert unquote(value.decode(), errors="strict") == message.encode("utf-8", "replace").decode()
    assert all(0x20 <= octet <= 0x7E for octet in value)
    assert classify(b"grpc-message", value) != _MALFORMED


def test_an_error_says_everything_in_one_block() -> None:
    assert Fields()(error_block(5, "50%", b"\xff", (("a", "b"),))) == {
        b":status": b"200",
        b"content-type": b"application/grpc",
        b"grpc-status": b"5",
        b"grpc-message": b"50%25",
        b"grpc-status-details-bin": b"/w",
        b"a": b"b",
    }


def test_ok_says_nothing_else() -> None:
    assert Fields()(trailers_block(0)) == {b"grpc-status": b"0"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Upper", "x"),
        ("", "x"),
        ("a b", "x"),
        (":path", "/"),
        ("grpc-status", "0"),
        ("é", "x"),
        ("text", "é"),
        ("text", " x"),
        ("text", "a\nb"),
        ("text", b"octets"),
        ("octets-bin", "text"),
    ],
)
def test_metadata_that_cannot_be_sent_is_refused(name: str, value: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"metadata|takes"):
        encode_metadata([(name, value)])
    with pytest.raises(ValueError, match=r"metadata|takes"):
        RpcError(13, metadata=[(name, value)])


def test_metadata_becomes_fields() -> None:
    metadata: list[tuple[str, str | bytes]] = [("a", "b c"), ("a-bin", b"\0\1"), ("a", "")]
    metadata += [("grpc-retry-pushback-ms", "10")]
    assert encode_metadata(metadata) == [
        (b"a", b"b c"),
        (b"a-bin", b"AAE"),
        (b"a", b""),
        (b"grpc-retry-pushback-ms", b"10"),
    ]
