"""The client's side of a connection that carries one call over and over, as cheaply as Python can.

What is sent was encoded before. What comes is cut into frames and kept with the time; what it means is worked
out when the load is over.
"""

import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from urllib.parse import unquote

from lepton_http2 import frames
from lepton_http2.hpack import Decoder, encode

INFER = "/inference.GRPCInferenceService/ModelInfer"
NOT_ACCEPTED = -1
"""The status of a call that the server has not taken, and says so: it may be made again elsewhere."""
LOST = -2
"""The status of a call that the server took, or may have taken, and did not answer."""

_HEAD = Struct(">BHBBI").unpack_from
_STREAM = frames.UINT32.pack
_INITIAL_WINDOW, _NO_TABLE = 4, 1
_WINDOW = 1 << 30
_REFUSED_STREAM = 7
_MOST_READ = 1 << 18
_ID_BYTES = 4


@dataclass(frozen=True)
class Call:
    """A unary call, encoded but for its stream.

    Attributes:
        pieces: of its frames, what stands between the streams.
        size: of its message with the prefix.
    """

    pieces: Sequence[bytes]
    size: int

    def on(self, stream_id: int) -> bytes:
        """The frames of the call on a stream."""
        return _STREAM(stream_id).join(self.pieces)


def fields(path: str, *, timeout_ms: int | None = None) -> list[tuple[bytes, bytes]]:
    """The header fields of a call of gRPC."""
    made = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    return made if timeout_ms is None else [*made, (b"grpc-timeout", b"%dm" % timeout_ms)]


def prefixed(message: bytes, *, compressed: bool = False) -> bytes:
    """A message with its prefix."""
    return bytes([compressed]) + len(message).to_bytes(4) + message


def call(message: bytes, *, path: str = INFER, timeout_ms: int | None = None) -> Call:
    """A call with one message; `timeout_ms` is the deadline that the server is told."""
    block = encode(fields(path, timeout_ms=timeout_ms))
    body = prefixed(message)
    parts = [body[at : at + frames.FIRST_FRAME] for at in range(0, len(body), frames.FIRST_FRAME)]
    kinds = [(frames.HEADERS, frames.END_HEADERS, block)]
    kinds += [(frames.DATA, 0, part) for part in parts[:-1]]
    kinds += [(frames.DATA, frames.END_STREAM, parts[-1])]
    pieces, behind = [], b""
    for kind, flags, payload in kinds:
        pieces.append(behind + frames.header(kind, flags, 0, len(payload))[:-_ID_BYTES])
        behind = payload
    return Call([*pieces, behind], len(body))


@dataclass(frozen=True)
class Outcome:
    """What became of one call.

    Attributes:
        due: when it was to be sent, of `time.perf_counter`, which is the same in all processes.
        lag: by how many seconds the client itself was late to send it.
        seconds: from then to the end of its answer.
        status: a code of gRPC, or `NOT_ACCEPTED`, or `LOST`.
        message: that of the status.
        trailers: of a call that failed.
        body: the message of the answer with its prefix.
    """

    due: float
    lag: float
    seconds: float
    status: int
    message: str = ""
    trailers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class Conversation:
    """One connection, and the calls on it. Times are of `time.perf_counter`.

    Raises:
        OSError: nobody listens.
    """

    def __init__(self, address: str, call: Call) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.closed = False
        """Whether the server has closed it, or the client."""
        self.leaving = False
        """Whether the server has asked for no more calls."""
        self.in_flight = 0
        self._call = call
        self._next_id = 1
        # By stream: when the call was due, and when it was sent.
        self._sent: dict[int, tuple[float, float]] = {}
        self._waiting: deque[float] = deque()
        self._window = frames.FIRST_WINDOW
        self._last_id = frames.MAX_WINDOW
        self._unsent = frames.PREFACE + frames.settings([(_NO_TABLE, 0), (_INITIAL_WINDOW, _WINDOW)])
        self._unsent += frames.window_update(0, _WINDOW)
        self._received = b""
        self._log: list[tuple[float, int, int, bytes]] = []
        self.send()

    def begin(self, due: float) -> bool:
        """Makes a call that is due now, or as soon as there is room; False if no more shall be made."""
        if self.leaving or self.closed:
            return False
        self._waiting.append(due)
        self.in_flight += 1
        return True

    def send(self) -> None:
        """Sends what the server has room for."""
        parts = [self._unsent]
        now = time.perf_counter()
        while self._waiting and self._window >= self._call.size and not self.leaving:
            self._sent[self._next_id] = (self._waiting.popleft(), now)
            self._window -= self._call.size
            parts.append(self._call.on(self._next_id))
            self._next_id += 2
        self._unsent = b"".join(parts)
        if self._unsent and not self.closed:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return
            except OSError:
                # What the server wrote before it went is still there to be read.
                self._unsent = b""

    def receive(self) -> int:
        """Takes what has come; gives how many calls ended."""
        try:
            data = self.socket.recv(_MOST_READ)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self.close()
            return 0
        now = time.perf_counter()
        data = self._received + data
        at, end, ended = 0, len(data), 0
        while end - at >= frames.HEADER_BYTES:
            high, low, kind, flags, stream_id = _HEAD(data, at)
            start = at + frames.HEADER_BYTES
            stop = start + (high << 16 | low)
            if stop > end:
                break
            at = stop
            if kind <= frames.RST_STREAM:
                self._log.append((now, stream_id, kind | flags << 8, data[start:stop]))
                ended += kind == frames.RST_STREAM or flags & frames.END_STREAM
            else:
                self._control(kind, flags, stream_id, data[start:stop])
        self._received = data[at:]
        self.in_flight -= ended
        return ended

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == frames.GOAWAY:
            self.leaving = True
            self._last_id = int.from_bytes(payload[:4])
        elif kind == frames.WINDOW_UPDATE and not stream_id:
            self._window += int.from_bytes(payload)
        elif kind == frames.PING and not flags & frames.ACK:
            self._unsent += frames.frame(frames.PING, frames.ACK, 0, payload)
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._unsent += frames.SETTINGS_ACK

    def close(self) -> None:
        """Ends the connection."""
        self.closed = True
        self.socket.close()

    def outcomes(self) -> Iterator[Outcome]:
        """What became of the calls that were sent."""
        decoder = Decoder(4096, lambda name, value: 0)
        bodies: dict[int, list[bytes]] = {}
        open_calls = dict(self._sent)
        for when, stream_id, kind_and_flags, payload in self._log:
            kind, flags = kind_and_flags & 0xFF, kind_and_flags >> 8
            block = decoder.decode(payload) if kind == frames.HEADERS else []
            if stream_id not in open_calls:
                continue
            if kind == frames.DATA:
                bodies.setdefault(stream_id, []).append(payload)
            if kind != frames.RST_STREAM and not flags & frames.END_STREAM:
                continue
            due, sent = open_calls.pop(stream_id)
            told = {name: value for name, value, _, _ in block}
            if kind == frames.RST_STREAM:
                status = NOT_ACCEPTED if int.from_bytes(payload) == _REFUSED_STREAM else LOST
            else:
                status = int(told.get(b"grpc-status", b"%d" % LOST))
            message = unquote(told.get(b"grpc-message", b"").decode())
            body = b"".join(bodies.pop(stream_id, []))
            yield Outcome(due, sent - due, when - due, status, message, told if status else {}, body)
        for stream_id, (due, sent) in open_calls.items():
            beyond = stream_id > self._last_id
            yield Outcome(due, sent - due, float("inf"), NOT_ACCEPTED if beyond else LOST)
