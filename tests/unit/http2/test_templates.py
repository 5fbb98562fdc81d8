"""Header blocks that are like earlier ones mean what they would mean if each were decoded in full."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.http2.wire import POST

from lepton_http2 import huffman
from lepton_http2.blocks import HeaderBlocks
from lepton_http2.errors import StreamFault
from lepton_http2.hpack import Decoder, encode
from lepton_http2.limits import Limits
from lepton_http2.requests import Request, classify, read_request

LIMITS = Limits(max_header_list_bytes=400)

values = st.one_of(
    st.sampled_from([b"", b"a", b"trailers", b"17", b"18", b"one\r", b" x", b"\xff"]),
    st.binary(min_size=8, max_size=8),
    st.text("0123456789abcdef-", min_size=8, max_size=8).map(str.encode),
    st.integers(0, 120).map(lambda size: b"v" * size),
)
names = st.sampled_from(
    [b"x-request-id", b"traceparent", b"te", b"content-length", b"host", b"grpc-timeout", b"X"]
)


@dataclass(frozen=True)
class Written:
    """A field, and how the peer writes it."""

    name: bytes
    value: bytes
    indexed: bool
    compressed: bool

    def encode(self) -> bytes:
        text = huffman.encode(self.value) if self.compressed else self.value
        size = len(text) | (0x80 if self.compressed else 0)
        return b"%c%c%b%c%b" % (0x40 if self.indexed else 0, len(self.name), self.name, size, text)


fields = st.builds(Written, names, values, st.sampled_from([False, False, False, True]), st.booleans())


def told(request: Request) -> tuple[object, ...]:
    return (
        request.method,
        request.scheme,
        request.path,
        request.authority,
        request.content_length,
        request.fields,
        request.oversized,
    )


@given(st.lists(st.lists(fields, max_size=3), min_size=2, max_size=12))
def test_they_mean_the_same(requests: list[list[Written]]) -> None:
    remembered = HeaderBlocks(LIMITS)
    decoder = Decoder(LIMITS.header_table_bytes, classify)
    for written in requests:
        block = encode(POST) + b"".join(field.encode() for field in written)
        each = decoder.decode(block)
        try:
            expected = told(read_request(each, max_list_bytes=LIMITS.max_header_list_bytes))
        except StreamFault:
            expected = ()
        # As a connection asks.
        request = remembered.memo.get(block)
        try:
            found = told(request or remembered.request(block))
        except StreamFault:
            found = ()
        assert found == expected


def test_only_what_differs_is_read() -> None:
    blocks = HeaderBlocks(Limits())

    def request(number: int) -> Request:
        return blocks.request(encode([*POST, (b"x-request-id", b"id-%d" % number)], compress=False))

    first, second, third = request(1), request(2), request(3)
    assert first.prototype is None
    assert second.prototype is first and third.prototype is first
    assert [first.fields[place][0] for place in first.varying] == [b"te", b"content-type", b"x-request-id"]
    assert [field[:2] for field in third.fields] == [*POST[4:], (b"x-request-id", b"id-3")]
