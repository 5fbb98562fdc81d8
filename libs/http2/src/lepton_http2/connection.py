"""The server's side of an HTTP/2 connection, without I/O (RFC 9113).

    connection = Connection()
    for kind, stream, payload, ended in connection.feed(received):
        ...
    socket.sendall(connection.data_to_send())

Bytes go in and events come out; how the bytes are cut only decides in how many pieces a DATA frame is told.
Answers go to `connection.outbound`. Whatever is to be sent is collected until it is asked for, so that a turn
of an event loop makes one write.
"""

from collections.abc import Callable

from lepton_http2 import control, frames
from lepton_http2.errors import ConnectionFault, ErrorCode
from lepton_http2.events import NOTHING, RESET, Event
from lepton_http2.frames import MAX_WINDOW
from lepton_http2.limits import Limits
from lepton_http2.receiving import Inbound
from lepton_http2.requests import Request
from lepton_http2.sending import Outbound
from lepton_http2.settings import greeting
from lepton_http2.streams import Stream

__all__ = ["Connection"]

# Streams that we reset and that frames may still be under way for.
_RESET_MEMORY = 2048
# How many control frames an answer pays for: the peer confirms what it got, and may ask how we are.
_FRAMES_PER_ANSWER = 4


class Connection:
    """One connection.

    Args:
        limits: what the peer may take.
        stream_type: what is made of each request: `Stream`, or a class that adds to it.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        stream_type: Callable[["Connection", int, Request, int, int], Stream] = Stream,
    ) -> None:
        self.limits = limits or Limits()
        self.stream_type = stream_type
        self.streams: dict[int, Stream] = {}
        """The requests that are not answered."""
        self.outbound = Outbound(self._finished)
        self.outbound.chunks.append(greeting(self.limits))
        self.closed = False
        """Whether the connection has ended: what is left to send is all."""
        self.draining = False
        """Whether the peer has been told to send no more requests."""
        self.final_id = MAX_WINDOW
        """The last stream that is taken."""
        self.ping_unanswered = False
        self._inbound = Inbound(self)
        self._were_reset: dict[int, None] = {}
        self._control_allowance = self.limits.control_frames
        self._reset_allowance = self.limits.resets

    # What the owner of a connection does with it.

    @property
    def greeted(self) -> bool:
        """Whether the peer's preface and settings have come."""
        return self._inbound.greeted

    @property
    def incomplete(self) -> bool:
        """Whether the peer has begun a frame, or a header block, and not ended it."""
        return self._inbound.incomplete

    def feed(self, data: bytes) -> list[Event]:
        """Takes what was received; gives what happened, in order.

        Payloads are views into `data`. A broken rule ends the connection; see `closed`.
        """
        events: list[Event] = []
        if self.closed:
            return events
        try:
            self._inbound.read(data, events)
        except ConnectionFault as fault:
            self.abort(fault.code, fault.message)
        return events

    def data_to_send(self) -> bytes:
        """Gives what is to be sent, once."""
        chunks = self.outbound.chunks
        if not chunks:
            return b""
        data = b"".join(chunks)
        chunks.clear()
        return data

    def consumed(self, stream: Stream, size: int) -> None:
        """Says that a reader has taken `size` octets of a stream, so that as many may follow."""
        stream.unconfirmed += size
        if stream.unconfirmed * 2 < self.limits.stream_window_bytes or stream.ended or stream.closed:
            return
        self.outbound.chunks.append(frames.window_update(stream.id, stream.unconfirmed))
        stream.receive_window += stream.unconfirmed
        stream.unconfirmed = 0

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """Ends a stream without an answer."""
        if not stream.closed:
            self._forget(stream)
            self.send_reset(stream.id, code)

    def ping(self) -> None:
        """Asks the peer whether it is there; `ping_unanswered` until it has answered."""
        self.ping_unanswered = True
        self.outbound.chunks.append(control.KEEPALIVE_PING)

    def drain(self) -> None:
        """Begins to end the connection.

        The peer is told to send no more requests. Those that are under way are still taken; `finish` follows
        by itself when the peer is known to have heard of it.
        """
        if not self.draining and not self.closed:
            self.draining = True
            self.outbound.chunks += (frames.goaway(MAX_WINDOW, ErrorCode.NO_ERROR), control.DRAIN_PING)

    def finish(self) -> None:
        """Takes no more requests; the connection is closed when those that it has are answered."""
        if self.final_id == MAX_WINDOW and not self.closed:
            self.draining = True
            self.final_id = self._inbound.last_id
            self.outbound.chunks.append(frames.goaway(self.final_id, ErrorCode.NO_ERROR))
            self.closed = not self.streams

    def abort(self, code: ErrorCode, message: str) -> None:
        """Ends the connection with an error, whatever is under way."""
        if not self.closed:
            self.closed = True
            self.outbound.chunks.append(frames.goaway(self._inbound.last_id, code, message))

    def abandon(self) -> list[Stream]:
        """Forgets all streams, since nothing can be sent any more, and gives them."""
        self.closed = True
        streams = list(self.streams.values())
        for stream in streams:
            self._forget(stream)
        return streams

    def relax(self) -> None:
        """Begins an interval for `Limits.control_frames` and `Limits.resets`: to be called each second."""
        self._control_allowance = self.limits.control_frames
        self._reset_allowance = self.limits.resets

    # What the readers of frames, in `receiving` and `control`, stand on.

    def charge(self, frame_count: int = 1) -> None:
        """Counts frames that carry no request.

        Raises:
            ConnectionFault: there are too many.
        """
        self._control_allowance -= frame_count
        if self._control_allowance < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry no request")

    def charge_reset(self) -> None:
        """Counts a request that the peer took back before it was answered.

        Raises:
            ConnectionFault: there are too many.
        """
        self._reset_allowance -= 1
        if self._reset_allowance < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many requests are taken back")

    def is_idle(self, stream_id: int) -> bool:
        """Whether a stream has not begun. Stream 0 never does, nor do those that only a server begins."""
        return stream_id > self._inbound.last_id or not stream_id & 1

    def was_reset(self, stream_id: int) -> bool:
        """Whether we reset a stream lately: its peer may not have known when it sent more."""
        return stream_id in self._were_reset

    def fail(self, stream: Stream, code: ErrorCode, events: list[Event]) -> None:
        """Ends a stream whose peer broke a rule."""
        self.reset(stream, code)
        events.append((RESET, stream, NOTHING, True))
        self.charge()

    def lose(self, stream: Stream, events: list[Event]) -> None:
        """Ends a stream that the peer took back."""
        self._forget(stream)
        events.append((RESET, stream, NOTHING, True))
        self.charge_reset()

    def send_reset(self, stream_id: int, code: ErrorCode) -> None:
        """Tells the peer that a stream has ended."""
        self.outbound.chunks.append(frames.rst_stream(stream_id, code))
        self._were_reset[stream_id] = None
        if len(self._were_reset) > _RESET_MEMORY:
            del self._were_reset[next(iter(self._were_reset))]

    def _forget(self, stream: Stream) -> None:
        del self.streams[stream.id]
        stream.closed = True
        if stream.queued_bytes:
            self.outbound.forget(stream)
        if self.final_id != MAX_WINDOW and not self.streams:
            self.closed = True
        stream.forgotten()

    def _finished(self, stream: Stream) -> None:
        """A stream is answered."""
        self._control_allowance += _FRAMES_PER_ANSWER
        self._reset_allowance += 1
        if not stream.ended:
            # What else the peer would send is of no use.
            self.send_reset(stream.id, ErrorCode.NO_ERROR)
        self._forget(stream)
