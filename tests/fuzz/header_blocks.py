"""Any header blocks: with the memory of a connection they mean what they mean without.

An input is a row of blocks. Each begins with an octet of its size. Those from 128 on are the block before
with some octets changed, so that many are alike: the two low bits and one are how many, each a place and a
value.
"""

from __future__ import annotations

from tests.unit.http2.wire import POST

from lepton_http2.blocks import HeaderBlocks
from lepton_http2.errors import ConnectionFault, StreamFault
from lepton_http2.hpack import FIELD_OVERHEAD, Decoder, HpackError, encode
from lepton_http2.limits import Limits
from lepton_http2.requests import Request, classify, read_request

__all__ = ["pack", "run"]

LIMITS = Limits(max_header_list_bytes=400, header_table_bytes=200)

_ALIKE = 0x80
# In front of each block, so that not every input has to find a request.
_START = encode(POST)
_MOST_BLOCKS = 64
_MOST_TEMPLATES = 16 * 4
Told = tuple[object, ...]


def pack(*blocks: bytes) -> bytes:
    """An input out of blocks of at most 127 octets, without what stands in front of each."""
    return b"".join(bytes([len(block)]) + block for block in blocks)


def change(*changes: tuple[int, int]) -> bytes:
    """A block like the one before, but for one to four octets: the place and the value of each."""
    return bytes([_ALIKE | len(changes) - 1, *(octet for each in changes for octet in each)])


def unpack(data: bytes) -> list[bytes]:
    """The blocks of an input."""
    blocks: list[bytes] = []
    last = b""
    at = 0
    while at < len(data):
        size = data[at]
        at += 1
        if size & _ALIKE:
            changed = bytearray(last)
            for _ in range((size & 3) + 1):
                if changed and at + 1 < len(data):
                    changed[data[at] % len(changed)] = data[at + 1]
                at += 2
            last = bytes(changed)
        else:
            last = data[at : at + size]
            at += size
        blocks.append(_START + last)
    return blocks


def told(request: Request) -> Told:
    """What a request says."""
    return (
        request.method,
        request.scheme,
        request.path,
        request.authority,
        request.content_length,
        request.fields,
        request.oversized,
    )


def check(decoder: Decoder) -> None:
    """What holds of a decoder at any time."""
    assert decoder._used_bytes == sum(size for _, _, size, _ in decoder._dynamic)
    assert decoder._used_bytes <= LIMITS.header_table_bytes


def run(data: bytes) -> None:
    """Runs an input.

    Raises:
        AssertionError: something does not hold.
    """
    remembered = HeaderBlocks(LIMITS)
    decoder = Decoder(LIMITS.header_table_bytes, classify)
    for block in unpack(data):
        expected: Told | None
        try:
            fields = decoder.decode(block)
            expected = told(read_request(fields, max_list_bytes=LIMITS.max_header_list_bytes))
        except HpackError:
            expected = None
        except StreamFault:
            expected = ()
        found: Told | None
        try:
            # As a connection asks.
            found = told(remembered.memo.get(block) or remembered.request(block))
        except ConnectionFault:
            found = None
        except StreamFault:
            found = ()
        assert found == expected
        if expected is None:
            # Both sides know different tables from now on: the connection has ended.
            return
        check(decoder)
        check(remembered._decoder)
        assert len(remembered.memo) <= _MOST_BLOCKS
        assert sum(map(len, remembered._templates._by_size.values())) <= _MOST_TEMPLATES
        check_encoding([(name, value) for name, value, _, _ in fields[len(POST) :]])


def check_encoding(fields: list[tuple[bytes, bytes]]) -> None:
    """Fields are the same when they are encoded and decoded again."""
    for compress in (False, True):
        again = Decoder(0, classify).decode(encode(fields, compress=compress))
        assert [field[:2] for field in again] == fields
        assert all(size == len(name) + len(value) + FIELD_OVERHEAD for name, value, size, _ in again)
