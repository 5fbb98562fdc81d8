"""What crosses a ring: records, each with a header of one cache line.

A record is the header, `head` and `body`, filled up to whole lines. Nothing in it is code or names a type:
fields are numbers in a fixed layout, and the two byte strings are what the kind says.
"""

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from lepton_http2.hpack import Field

__all__ = ["BLOCK", "HEADER", "LINE_BYTES", "Flag", "Kind", "Record", "join_fields", "split_fields"]

LINE_BYTES = 64
HEADER = Struct("=IBBHQIIIQd20x")
"""Its size, kind, flags, method, call, connection, the sizes of `head` and `body`, amount, deadline."""

BLOCK = Struct("=QQ")
"""Where a block begins, and its size."""

_FIELD = Struct("=II")


class Kind(IntEnum):
    """What a record is about. Calls and connections have numbers, which a front never uses again."""

    # From a front to the back.
    OPEN = 1
    """A connection is about to bring its first call: `head` is its peer, `body` the certificate, in JSON."""
    CLOSE = 2
    """A connection has ended."""
    CALL = 3
    """A call: `head` is its header fields, `body` the message, unless the method takes a stream."""
    ENDED = 4
    """The caller has sent all its messages."""
    CANCEL = 5
    """Nobody waits for an answer any more."""

    # From the back to a front.
    ANSWER = 6
    """One message and OK: `head` is the header block behind it, empty for the usual one."""
    HEADERS = 7
    """The header block in front of messages, or instead of any."""
    END = 8
    """The header block behind all messages."""

    # Both ways.
    MESSAGE = 9
    """One of many messages."""
    TAKEN = 10
    """So many bytes of messages were taken: as many may follow."""
    PART = 11
    """A piece of the body of the record behind it, which is too large for the ring."""
    FREE = 12
    """The block that begins at this place is not in use any more."""


class Flag(IntEnum):
    """Bits of a header."""

    COMPRESSED = 1
    """The message came compressed; it is to be sent compressed."""
    ACCEPTS_GZIP = 2
    """The caller understands gzip."""
    LAST = 4
    """Nothing follows the header block."""
    PARTS = 8
    """The body begins in the PARTs in front."""
    BLOCK = 16
    """The body lies in a block: here are its place and its size (`BLOCK`)."""


class Record(NamedTuple):
    """A record, as it was read."""

    kind: int
    flags: int
    method: int
    """The place of the call's method in the list that both sides have."""
    call: int
    connection: int
    amount: int
    deadline: float
    """When the caller stops waiting, of `time.monotonic`: one clock for all processes. 0 for never."""
    head: bytes
    body: bytes | memoryview


def join_fields(fields: Iterable[Field]) -> bytes:
    """Header fields as bytes."""
    parts: list[bytes] = []
    for name, value, _, _ in fields:
        parts += (_FIELD.pack(len(name), len(value)), name, value)
    return b"".join(parts)


def split_fields(data: bytes) -> list[Field]:
    """What `join_fields` was given; sizes and kinds are left out."""
    fields: list[Field] = []
    at = 0
    while at < len(data):
        name_size, value_size = _FIELD.unpack_from(data, at)
        middle = at + _FIELD.size + name_size
        fields.append((data[at + _FIELD.size : middle], data[middle : middle + value_size], 0, 0))
        at = middle + value_size
    return fields
