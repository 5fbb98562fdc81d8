"""The frames of HTTP/2 as bytes (RFC 9113, section 6), and the numbers in them."""

from collections.abc import Iterable
from struct import Struct

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "FIRST_FRAME",
    "FIRST_WINDOW",
    "GOAWAY",
    "HEADERS",
    "HEADER_BYTES",
    "MAX_FRAME",
    "MAX_WINDOW",
    "PADDED",
    "PING",
    "PREFACE",
    "PRIORITY",
    "PRIORITY_FLAG",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "SETTINGS_ACK",
    "UINT32",
    "WINDOW_UPDATE",
    "frame",
    "goaway",
    "header",
    "rst_stream",
    "settings",
    "window_update",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

HEADER_BYTES = 9
FIRST_WINDOW = 65_535
"""What every window is at first."""
MAX_WINDOW = (1 << 31) - 1
FIRST_FRAME = 1 << 14
"""The largest payload of a frame at first, and the least that a peer may set it to."""
MAX_FRAME = (1 << 24) - 1

# Types.
DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

# Flags.
ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

UINT32 = Struct(">I")
# The length is 24 bits: 8, then 16.
_HEADER = Struct(">BHBBI")
_SETTING = Struct(">HI")


def header(kind: int, flags: int, stream_id: int, size: int) -> bytes:
    """The nine bytes in front of a payload of `size` bytes."""
    return _HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    size = len(payload)
    return _HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*value) for value in values))


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, UINT32.pack(increment))


def rst_stream(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, UINT32.pack(code))


def goaway(last_stream_id: int, code: int, message: str = "") -> bytes:
    """A GOAWAY frame, with a word for whoever reads the peer's log."""
    return frame(GOAWAY, 0, 0, UINT32.pack(last_stream_id) + UINT32.pack(code) + message.encode())
