"""What goes out on a connection: frames, cut to the windows and the frame size that the peer allows.

Invariant: a stream with a queue has no send window, or the connection has none and the stream stands in
`_waiting`.
"""

from collections import deque
from collections.abc import Callable
from struct import Struct

from lepton_http2 import frames
from lepton_http2.errors import ConnectionFault, ErrorCode, StreamFault
from lepton_http2.hpack import EMPTY_TABLE
from lepton_http2.streams import Stream

__all__ = ["MESSAGE_PREFIX", "Answer", "Outbound"]

MESSAGE_PREFIX = Struct(">BI")
"""What stands in front of a message of gRPC: whether it is compressed, and its size."""

_pack_head = Struct(">BHBBI").pack
_FIRST_TABLE = 4096
_PREFIX_BYTES = MESSAGE_PREFIX.size
# A message up to this size is copied to stand in one frame with its prefix.
_JOINED_BYTES = 16 << 10
# The flags of a header block that ends a stream.
_LAST = frames.END_HEADERS | frames.END_STREAM
# Asks for the way through `Outbound.headers` even where there is no body.
_NEVER_QUICK = -1


class Answer:
    """The header blocks of answers that differ in their bodies alone.

    Every body is one message, behind a `MESSAGE_PREFIX`.

    Args:
        headers: the header block.
        trailers: the one behind the body.
    """

    def __init__(self, headers: bytes, trailers: bytes) -> None:
        self.headers = headers
        self.trailers = trailers
        # The first five octets of the frames' headers: all but the stream.
        self._start = frames.header(frames.HEADERS, frames.END_HEADERS, 0, len(headers))[:5]
        self._stop = frames.header(frames.HEADERS, _LAST, 0, len(trailers))[:5]
        self._pack_start = Struct(f">5sI{len(headers)}sBHHIBI").pack
        self._pack_stop = Struct(f">5sI{len(trailers)}s").pack

    def whole(self, stream_id: int, body: bytes, trailers: bytes | None = None) -> tuple[bytes, bytes, bytes]:
        """All frames of the answer: HEADERS, DATA with the whole body, HEADERS.

        `trailers`, at most a frame of the smallest size, may stand for those of the answer.
        """
        size = len(body)
        framed = size + _PREFIX_BYTES
        return (
            self._pack_start(
                self._start, stream_id, self.headers, framed >> 16, framed & 0xFFFF, 0, stream_id, 0, size
            ),
            body,
            self._pack_stop(self._stop, stream_id, self.trailers)
            if trailers is None
            else _pack_head(0, len(trailers), frames.HEADERS, _LAST, stream_id) + trailers,
        )


class Outbound:
    """The sending half of a connection.

    Args:
        finished: told of each stream that has been sent to its end.
    """

    def __init__(self, finished: Callable[[Stream], None]) -> None:
        self._finished = finished
        self.chunks: list[bytes | memoryview] = []
        """What is to be written, in this order."""
        self.window = frames.FIRST_WINDOW
        self.stream_window = frames.FIRST_WINDOW
        """What a new stream may send."""
        self.max_frame = frames.FIRST_FRAME
        self.quick_bytes = frames.FIRST_FRAME
        """The largest body that can go out in one frame, if the windows allow."""
        self.queued_bytes = 0
        """What waits for the peer's windows, in all."""
        self._waiting: dict[int, Stream] = {}
        self._table_bytes = _FIRST_TABLE
        self._table_update = b""

    def answer(self, stream: Stream, answer: Answer, body: bytes, trailers: bytes | None = None) -> None:
        """Sends a whole answer; `trailers` other than its own if they are given."""
        size = len(body) + _PREFIX_BYTES
        if size <= self.quick_bytes and size <= self.window and size <= stream.send_window:
            self.window -= size
            self.chunks += answer.whole(stream.id, body, trailers)
            self._finished(stream)
            return
        self.headers(stream, answer.headers)
        self.message(stream, body)
        self.end(stream, answer.trailers if trailers is None else trailers)

    def headers(self, stream: Stream, block: bytes, *, end: bool = False) -> None:
        """Sends a header block; `end` if nothing follows."""
        stream.headers_sent = True
        self._headers(stream.id, block, frames.END_STREAM if end else 0)
        if end:
            self._finished(stream)

    def data(self, stream: Stream, body: bytes) -> None:
        """Sends a piece of the body, or has it wait."""
        self._queue(stream, body)
        self._pump(stream)

    def message(self, stream: Stream, body: bytes, *, compressed: bool = False) -> None:
        """Sends a message as a piece of the body: with its prefix."""
        prefix = MESSAGE_PREFIX.pack(compressed, len(body))
        if len(body) <= _JOINED_BYTES:
            self._queue(stream, prefix + body)
        else:
            self._queue(stream, prefix)
            self._queue(stream, body)
        self._pump(stream)

    def _queue(self, stream: Stream, body: bytes) -> None:
        if not body:
            return
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append(memoryview(body))
        stream.queued_bytes += len(body)
        self.queued_bytes += len(body)

    def end(self, stream: Stream, trailers: bytes = b"") -> None:
        """Ends the stream behind what waits, with trailers or without."""
        stream.trailers = trailers
        if not stream.queued_bytes:
            self._end(stream)

    def forget(self, stream: Stream) -> None:
        """Drops what waits."""
        self.queued_bytes -= stream.queued_bytes
        stream.queued_bytes = 0
        stream.queue = None
        self._waiting.pop(stream.id, None)

    def grant(self, increment: int) -> None:
        """Takes a WINDOW_UPDATE of the connection.

        Raises:
            ConnectionFault: the window becomes too large.
        """
        self.window += increment
        if self.window > frames.MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the window is too large")
        # Round and round, a frame each, so that no stream starves the others.
        while self._waiting and self.window > 0:
            for stream in list(self._waiting.values()):
                del self._waiting[stream.id]
                self._pump(stream, most_frames=1)

    def grant_stream(self, stream: Stream, increment: int) -> None:
        """Takes a WINDOW_UPDATE of a stream, or what a new SETTINGSframes.FIRST_WINDOW_SIZE changes.

        Raises:
            StreamFault: the window becomes too large.
        """
        stream.send_window += increment
        if stream.send_window > frames.MAX_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the window is too large")
        if stream.queued_bytes:
            self._pump(stream)

    def resize_table(self, size: int) -> None:
        """Takes the peer's SETTINGS_HEADER_TABLE_SIZE: a smaller table must be confirmed in a block."""
        if size < self._table_bytes:
            # We use none of it, and say so once.
            self._table_bytes = 0
            self._table_update = EMPTY_TABLE
            self.quick_bytes = _NEVER_QUICK

    def resize_frames(self, size: int) -> None:
        """Takes the peer's SETTINGS_MAX_FRAME_SIZE."""
        self.max_frame = size
        if not self._table_update:
            self.quick_bytes = size

    def _headers(self, stream_id: int, block: bytes, flags: int) -> None:
        if self._table_update:
            block = self._table_update + block
            self._table_update = b""
            self.quick_bytes = self.max_frame
        kind = frames.HEADERS
        while len(block) > self.max_frame:
            self.chunks.append(frames.frame(kind, flags, stream_id, block[: self.max_frame]))
            block = block[self.max_frame :]
            kind, flags = frames.CONTINUATION, 0
        self.chunks.append(frames.frame(kind, flags | frames.END_HEADERS, stream_id, block))

    def _pump(self, stream: Stream, *, most_frames: int = -1) -> None:
        """Sends what waits as far as the windows allow."""
        queue = stream.queue
        while queue and stream.send_window > 0:
            if self.window <= 0 or not most_frames:
                self._waiting[stream.id] = stream
                return
            body = queue[0]
            size = min(len(body), self.window, stream.send_window, self.max_frame)
            if size == len(body):
                queue.popleft()
            else:
                queue[0] = body[size:]
            stream.queued_bytes -= size
            stream.send_window -= size
            self.queued_bytes -= size
            self.window -= size
            self.chunks += (frames.header(frames.DATA, 0, stream.id, size), body[:size])
            most_frames -= 1
        if not queue and not stream.closed:
            if stream.trailers is not None:
                self._end(stream)
            else:
                stream.drained()

    def _end(self, stream: Stream) -> None:
        if stream.trailers:
            self._headers(stream.id, stream.trailers, frames.END_STREAM)
        else:
            self.chunks.append(frames.header(frames.DATA, frames.END_STREAM, stream.id, 0))
        self._finished(stream)
