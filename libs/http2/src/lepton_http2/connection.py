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
from struct import Struct

from lepton_http2 import control, frames
from lepton_http2.blocks import HeaderBlocks
from lepton_http2.errors import ConnectionFault, ErrorCode, StreamFault
from lepton_http2.events import DATA, NOTHING, REQUEST, RESET, TRAILERS, Event
from lepton_http2.frames import MAX_WINDOW
from lepton_http2.limits import Limits
from lepton_http2.requests import Request, check_trailers
from lepton_http2.sending import Outbound
from lepton_http2.settings import greeting
from lepton_http2.streams import Stream

__all__ = ["Connection"]

_HEAD = Struct(">BHBBI").unpack_from

# The connection's receive window is given back when so much of it is used.
_GIVE_BACK_BYTES = 1 << 24
# Streams that we reset and that frames may still be under way for.
_RESET_MEMORY = 2048
# How many control frames an answer pays for: the peer confirms what it got, and may ask how we are.
_FRAMES_PER_ANSWER = 4
# In place of a stream's id: the next frame must be SETTINGS.
_SETTINGS_FIRST = -1


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
        self.outbound = Outbound(self._finished)
        self.outbound.chunks.append(greeting(self.limits))
        self.streams: dict[int, Stream] = {}
        """The requests that are not answered."""
        self.closed = False
        """Whether the connection has ended: what is left to send is all."""
        self.draining = False
        """Whether the peer has been told to send no more requests."""
        self.ping_unanswered = False

        self._stream_type = stream_type
        self._blocks = HeaderBlocks(self.limits)
        self._memo = self._blocks.memo
        self._last_id = 0
        # Requests beyond it are not taken.
        self._final_id = MAX_WINDOW
        self._were_reset: dict[int, None] = {}
        self._receive_window = MAX_WINDOW
        self._control_allowance = self.limits.control_frames
        self._reset_allowance = self.limits.resets

        self._preface_left = frames.PREFACE
        # The stream whose header block the next frame must continue; 0: the next may be any.
        self._expected = _SETTINGS_FIRST
        # The start of a frame that is not whole, and how long it must get before it is looked at again.
        self._rest = bytearray()
        self._needed = frames.HEADER_BYTES
        # What is missing of a frame that is handed on as it comes (to nobody: thrown away).
        self._left = 0
        self._left_stream: Stream | None = None
        self._left_ends = False

    @property
    def greeted(self) -> bool:
        """Whether the peer's preface and settings have come."""
        return self._expected != _SETTINGS_FIRST

    @property
    def incomplete(self) -> bool:
        """Whether the peer has begun a frame, or a header block, and not ended it."""
        return bool(self._rest or self._left or self._expected)

    # What the owner of a connection does with it.

    def feed(self, data: bytes) -> list[Event]:
        """Takes what was received; gives what happened, in order.

        Payloads are views into `data`. A broken rule ends the connection; see `closed`.
        """
        events: list[Event] = []
        if self.closed:
            return events
        try:
            self._read(data, events)
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
            self._send_reset(stream.id, code)

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
        if self._final_id == MAX_WINDOW and not self.closed:
            self.draining = True
            self._final_id = self._last_id
            self.outbound.chunks.append(frames.goaway(self._last_id, ErrorCode.NO_ERROR))
            self.closed = not self.streams

    def abort(self, code: ErrorCode, message: str) -> None:
        """Ends the connection with an error, whatever is under way."""
        if not self.closed:
            self.closed = True
            self.outbound.chunks.append(frames.goaway(self._last_id, code, message))

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

    # What the readers of frames, here and in `control`, stand on.

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
        """Whether a stream has not begun. Stream 0 never does."""
        return stream_id > self._last_id or not stream_id & 1

    def fail(self, stream: Stream, code: ErrorCode, events: list[Event]) -> None:
        """Ends a stream whose peer broke a rule."""
        self.charge()
        self.reset(stream, code)
        events.append((RESET, stream, NOTHING, True))

    def lose(self, stream: Stream, events: list[Event]) -> None:
        """Ends a stream that the peer took back."""
        self._forget(stream)
        events.append((RESET, stream, NOTHING, True))

    def _forget(self, stream: Stream) -> None:
        del self.streams[stream.id]
        stream.closed = True
        if stream.queued_bytes:
            self.outbound.forget(stream)
        stream.forgotten()
        if self._final_id != MAX_WINDOW and not self.streams:
            self.closed = True

    def _finished(self, stream: Stream) -> None:
        """A stream is answered."""
        self._control_allowance += _FRAMES_PER_ANSWER
        self._reset_allowance += 1
        if not stream.ended:
            # What else the peer would send is of no use.
            self._send_reset(stream.id, ErrorCode.NO_ERROR)
        self._forget(stream)

    def _send_reset(self, stream_id: int, code: ErrorCode) -> None:
        self.outbound.chunks.append(frames.rst_stream(stream_id, code))
        self._were_reset[stream_id] = None
        if len(self._were_reset) > _RESET_MEMORY:
            del self._were_reset[next(iter(self._were_reset))]

    # Frames.

    def _read(self, data: bytes, events: list[Event]) -> None:
        if self._preface_left:
            data = self._read_preface(data)
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        view = memoryview(data)
        at, end = 0, len(data)
        if self._left:
            at = min(self._left, end)
            self._read_more(view[:at], events)
        streams = self.streams
        max_frame = self.limits.max_frame_bytes
        while end - at >= 9:
            high, low, kind, flags, stream_id = _HEAD(data, at)
            size = high << 16 | low
            if size > max_frame:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is too large")
            stream_id &= MAX_WINDOW
            if self._expected:
                self._check_expected(kind, flags, stream_id)
            start = at + 9
            stop = start + size
            if stop > end:
                if self._read_start(kind, flags, stream_id, size, view[start:], events):
                    at = end
                else:
                    self._needed = 9 + size
                break
            at = stop
            if kind == frames.DATA:
                stream = streams.get(stream_id)
                if stream is not None and not flags & frames.PADDED and stream.body_left is None and size:
                    # The usual case of `_admit` and `_deliver`, without their calls.
                    self._receive_window -= size
                    stream.receive_window -= size
                    if stream.receive_window >= 0 and not stream.ended and self._receive_window >= 0:
                        ended = flags & frames.END_STREAM != 0
                        if ended:
                            stream.ended = True
                        events.append((DATA, stream, view[start:stop], ended))
                        continue
                    self._receive_window += size
                    stream.receive_window += size
                self._read_data(flags, stream_id, view[start:stop], events)
            elif kind == frames.HEADERS:
                if flags & (frames.PADDED | frames.PRIORITY_FLAG):
                    block = control.bare_headers(flags, stream_id, data[start:stop])
                else:
                    block = data[start:stop]
                if flags & frames.END_HEADERS:
                    self._read_headers(stream_id, block, flags & frames.END_STREAM != 0, events)
                else:
                    self._begin_block(flags, stream_id, block)
            elif kind == frames.CONTINUATION:
                self._read_continuation(flags, stream_id, data[start:stop], events)
            else:
                self.charge()
                control.read(self, kind, flags, stream_id, view[start:stop], events)
        if at < end:
            self._rest += view[at:]
            if end - at < 9:
                self._needed = 9
        if self._receive_window < MAX_WINDOW - _GIVE_BACK_BYTES:
            self.outbound.chunks.append(frames.window_update(0, MAX_WINDOW - self._receive_window))
            self._receive_window = MAX_WINDOW

    def _read_preface(self, data: bytes) -> bytes:
        size = min(len(data), len(self._preface_left))
        if data[:size] != self._preface_left[:size]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        self._preface_left = self._preface_left[size:]
        return data[size:]

    def _check_expected(self, kind: int, flags: int, stream_id: int) -> None:
        if self._expected == _SETTINGS_FIRST:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._expected = 0
        elif kind != frames.CONTINUATION or stream_id != self._expected:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")

    def _read_start(
        self, kind: int, flags: int, stream_id: int, size: int, part: memoryview, events: list[Event]
    ) -> bool:
        """Takes the start of a frame that is handed on as it comes; False if it must be whole first."""
        if kind == frames.HEADERS or kind == frames.CONTINUATION:
            self._blocks.check_size(size)
            return False
        if kind == frames.DATA and not flags & frames.PADDED:
            self._left_stream = self._admit(stream_id, size, events)
            self._left_ends = flags & frames.END_STREAM != 0
        elif kind > frames.CONTINUATION:
            self.charge()
            self._left_stream = None
        else:
            return False
        self._left = size
        if part:
            self._read_more(part, events)
        return True

    def _read_more(self, part: memoryview, events: list[Event]) -> None:
        """Takes more of such a frame."""
        self._left -= len(part)
        stream = self._left_stream
        if stream is not None and not stream.closed:
            self._deliver(stream, part, self._left_ends and not self._left, events)

    # Bodies.

    def _read_data(self, flags: int, stream_id: int, payload: memoryview, events: list[Event]) -> None:
        stream = self._admit(stream_id, len(payload), events)
        if flags & frames.PADDED:
            payload = control.unpadded(payload)
        ended = flags & frames.END_STREAM != 0
        if not payload and not ended:
            self.charge()
        elif stream is not None:
            self._deliver(stream, payload, ended, events)

    def _admit(self, stream_id: int, size: int, events: list[Event]) -> Stream | None:
        """Takes a DATA frame from the windows; gives the stream that it is for, if it is for any."""
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection allows")
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data for a stream that has not begun")
            self.charge()
            if stream_id not in self._were_reset:
                self._send_reset(stream_id, ErrorCode.STREAM_CLOSED)
            return None
        stream.receive_window -= size
        if stream.ended:
            self.fail(stream, ErrorCode.STREAM_CLOSED, events)
            return None
        if stream.receive_window < 0:
            self.fail(stream, ErrorCode.FLOW_CONTROL_ERROR, events)
            return None
        return stream

    def _deliver(self, stream: Stream, payload: memoryview, ended: bool, events: list[Event]) -> None:
        if stream.body_left is not None:
            stream.body_left -= len(payload)
            if stream.body_left < 0 or (ended and stream.body_left):
                self.fail(stream, ErrorCode.PROTOCOL_ERROR, events)
                return
        if ended:
            stream.ended = True
        events.append((DATA, stream, payload, ended))

    # Header blocks.

    def _begin_block(self, flags: int, stream_id: int, part: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "headers for no stream")
        self._blocks.check_size(len(part))
        self._blocks.begin(part, ends_stream=flags & frames.END_STREAM != 0)
        self._expected = stream_id

    def _read_continuation(self, flags: int, stream_id: int, part: bytes, events: list[Event]) -> None:
        if not self._expected:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION continues nothing")
        self.charge()
        self._blocks.check_size(len(part))
        self._blocks.add(part)
        if flags & frames.END_HEADERS:
            self._expected = 0
            block, ended = self._blocks.complete()
            self._read_headers(stream_id, block, ended, events)

    def _read_headers(self, stream_id: int, block: bytes, ended: bool, events: list[Event]) -> None:
        if stream_id <= self._last_id or not stream_id & 1:
            self._read_trailers(stream_id, block, ended, events)
            return
        self._last_id = stream_id
        request = self._memo.get(block)
        if request is None:
            self._blocks.check_size(len(block))
            try:
                request = self._blocks.request(block)
            except StreamFault as fault:
                self.charge()
                self._send_reset(stream_id, fault.code)
                return
        if stream_id > self._final_id:
            return
        if len(self.streams) >= self.limits.max_concurrent_streams:
            self.charge()
            self._send_reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        stream = self._stream_type(
            self, stream_id, request, self.outbound.stream_window, self.limits.stream_window_bytes
        )
        self.streams[stream_id] = stream
        if ended:
            stream.ended = True
        if request.content_length is not None:
            if ended and request.content_length:
                self.fail(stream, ErrorCode.PROTOCOL_ERROR, events)
                return
            stream.body_left = request.content_length
        events.append((REQUEST, stream, NOTHING, ended))

    def _read_trailers(self, stream_id: int, block: bytes, ended: bool, events: list[Event]) -> None:
        """Reads a header block that begins no stream."""
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the id is not one of a client's stream")
        self.charge()
        self._blocks.check_size(len(block))
        fields = self._blocks.decode(block)
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id not in self._were_reset:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "headers for a closed stream")
        elif stream.ended:
            self.fail(stream, ErrorCode.STREAM_CLOSED, events)
        elif not ended or stream.body_left:
            self.fail(stream, ErrorCode.PROTOCOL_ERROR, events)
        else:
            try:
                check_trailers(fields)
            except StreamFault as fault:
                self.fail(stream, fault.code, events)
                return
            stream.ended = True
            events.append((TRAILERS, stream, NOTHING, True))
