"""A client that writes and reads frames, and keeps to the rules only as far as a test wants."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from struct import Struct

from lepton_http2 import frames
from lepton_http2.hpack import Decoder, encode

_HEAD = Struct(">BHBBI")
CALL = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test.Service/Method"),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)


class Peer:
    """One connection."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        settings: Iterable[tuple[int, int]] = (),
        greeting: bytes | None = None,
    ) -> None:
        self.socket = connection
        self._rest = b""
        self._decoder = Decoder(4096, lambda name, value: 0)
        self.send(frames.PREFACE + frames.settings(settings) if greeting is None else greeting)

    def send(self, *sent: bytes) -> None:
        """Writes frames."""
        self.socket.sendall(b"".join(sent))

    def call(
        self,
        stream_id: int,
        fields: Iterable[tuple[bytes, bytes]] = CALL,
        *,
        body: bytes | None = b"",
        end: bool = True,
    ) -> None:
        """Writes a request; with None for a body, its head alone."""
        last = frames.END_STREAM if end else 0
        flags = frames.END_HEADERS | (last if body is None else 0)
        self.send(frames.frame(frames.HEADERS, flags, stream_id, encode(fields)))
        if body is not None:
            self.send(frames.frame(frames.DATA, last, stream_id, body))

    def receive(self, *kinds: int) -> tuple[int, int, int, bytes]:
        """The next frame of one of these kinds: kind, flags, stream, payload.

        Raises:
            EOFError: the server has closed.
        """
        while True:
            high, low, kind, flags, stream_id = _HEAD.unpack(self._read(9))
            payload = self._read(high << 16 | low)
            if kind in kinds:
                return kind, flags, stream_id, payload

    def answer(self, stream_id: int) -> tuple[dict[bytes, bytes], bytes, dict[bytes, bytes]]:
        """The answer to a request: headers, body, trailers."""
        blocks, body = [], b""
        while True:
            kind, flags, found, payload = self.receive(frames.HEADERS, frames.DATA)
            if kind == frames.HEADERS:
                fields = {name: value for name, value, _, _ in self._decoder.decode(payload)}
                if found == stream_id:
                    blocks.append(fields)
            elif found == stream_id:
                body += payload
            if found == stream_id and flags & frames.END_STREAM:
                return blocks[0], body, blocks[-1]

    def goaway(self) -> int:
        """The code of the next GOAWAY."""
        return int.from_bytes(self.receive(frames.GOAWAY)[3][4:8])

    def is_closed(self) -> bool:
        """Waits until the server has closed."""
        try:
            while self.socket.recv(65_536):
                pass
        except ConnectionError:
            pass
        return True

    def _read(self, size: int) -> bytes:
        while len(self._rest) < size:
            received = self.socket.recv(65_536)
            if not received:
                raise EOFError
            self._rest += received
        read, self._rest = self._rest[:size], self._rest[size:]
        return read
