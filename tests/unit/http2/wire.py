"""The other side of a connection, written down: frames to send, and frames to look at."""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

from lepton_http2 import frames
from lepton_http2.hpack import Decoder, encode

_HEAD = Struct(">BHBBI")

POST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test.Service/Method"),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)
HELLO = frames.PREFACE + frames.settings([])


@dataclass(frozen=True)
class Frame:
    """A frame as it was sent."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == frames.GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4])

    @property
    def increment(self) -> int:
        """By how much WINDOW_UPDATE opens a window."""
        return int.from_bytes(self.payload)


def parse(data: bytes) -> list[Frame]:
    """Cuts whole frames."""
    found = []
    while data:
        high, low, kind, flags, stream_id = _HEAD.unpack_from(data)
        size = high << 16 | low
        assert len(data) >= 9 + size, "a frame is not whole"
        found.append(Frame(kind, flags, stream_id, data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def headers(
    stream_id: int, fields: Iterable[tuple[bytes, bytes]] = POST, *, end: bool = False, flags: int = 0
) -> bytes:
    """A HEADERS frame with a whole block."""
    flags |= frames.END_HEADERS | (frames.END_STREAM if end else 0)
    return frames.frame(frames.HEADERS, flags, stream_id, encode(fields))


def data(stream_id: int, body: bytes = b"", *, end: bool = False) -> bytes:
    """A DATA frame."""
    return frames.frame(frames.DATA, frames.END_STREAM if end else 0, stream_id, body)


def message(body: bytes, *, compressed: bool = False) -> bytes:
    """A message of gRPC with its prefix."""
    return bytes([compressed]) + len(body).to_bytes(4) + body


class Fields:
    """Decodes the header blocks of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(4096, lambda name, value: 0)

    def __call__(self, block: bytes) -> dict[bytes, bytes]:
        """The fields of a block."""
        return {name: value for name, value, _, _ in self._decoder.decode(block)}
