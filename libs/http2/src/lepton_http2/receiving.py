"""What comes in on a connection: bytes are cut into frames, and frames become events.

A frame is read when it is whole. Two kinds do not wait for that: DATA without padding is handed on as it
comes, and what nobody wants is thrown away as it comes.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from lepton_http2 import control, frames
from lepton_http2.blocks import HeaderBlocks
from lepton_http2.errors import ConnectionFault, ErrorCode, StreamFault
from lepton_http2.events import DATA, NOTHING, REQUEST, TRAILERS, Event
from lepton_http2.frames import MAX_WINDOW
from lepton_http2.requests import check_trailers
from lepton_http2.streams import Stream

if TYPE_CHECKING:
    from lepton_http2.connection import Connection

__all__ = ["Inbound"]

_HEAD = Struct(">BHBBI").unpack_from
_UINT32 = Struct(">I").unpack_from
# The connection's window is given back when so much of it is used.
_GIVE_BACK_BYTES = 1 << 24
# In place of a stream's id: the next frame must be SETTINGS.
_SETTINGS_FIRST = -1


class Inbound:
    """The receiving half of a connection."""

    def __init__(self, connection: Connection) -> None:
        self.last_id = 0
        """The last stream that the peer began."""
        self._connection = connection
        self._limits = connection.limits
        self._streams = connection.streams
        self._blocks = HeaderBlocks(connection.limits)
        self._memo = self._blocks.memo
        self._window = MAX_WINDOW
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

    # Every call and every name looked up counts here: the usual frames are read in line.
    def read(self, data: bytes, events: list[Event]) -> None:  # noqa: C901
        """Takes what was received, and adds to `events` what happened.

        Raises:
            ConnectionFault: a rule is broken. What happened before that is in `events`.
        """
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
        if self._left and end:
            at = min(self._left, end)
            self._read_more(view[:at], events)
        connection = self._connection
        streams = self._streams
        max_frame = self._limits.max_frame_bytes
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
                break
            at = stop
            if kind == frames.DATA:
                stream = streams.get(stream_id)
                if stream is not None and not flags & frames.PADDED and stream.body_left is None and size:
                    # The usual case of `_admit` and `_deliver`, without their calls.
                    self._window -= size
                    stream.receive_window -= size
                    if stream.receive_window >= 0 and not stream.ended and self._window >= 0:
                        ended = flags & frames.END_STREAM != 0
                        if ended:
                            stream.ended = True
                        events.append((DATA, stream, view[start:stop], ended))
                        continue
                    self._window += size
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
            elif kind == frames.WINDOW_UPDATE and size == 4 and stream_id in streams:
                connection.charge()
                stream = streams[stream_id]
                increment = _UINT32(data, start)[0] & MAX_WINDOW
                if 0 < increment <= MAX_WINDOW - stream.send_window and not stream.queued_bytes:
                    # The usual case: a client opens a window before it needs it.
                    stream.send_window += increment
                else:
                    control.read(connection, kind, flags, stream_id, view[start:stop], events)
            else:
                connection.charge()
                control.read(connection, kind, flags, stream_id, view[start:stop], events)
        if at < end:
            self._keep(view[at:])
        if self._window < MAX_WINDOW - _GIVE_BACK_BYTES:
            chunks = connection.outbound.chunks
            chunks.append(frames.window_update(0, MAX_WINDOW - self._window))
            self._window = MAX_WINDOW

    # Bytes.

    def _read_preface(self, data: bytes) -> bytes:
        size = min(len(data), len(self._preface_left))
        if data[:size] != self._preface_left[:size]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        self._preface_left = self._preface_left[size:]
        return data[size:]

    def _keep(self, rest: memoryview) -> None:
        """Keeps the start of a frame until there is enough of it."""
        self._rest += rest
        self._needed = frames.HEADER_BYTES
        if len(rest) >= frames.HEADER_BYTES:
            high, low, _, _, _ = _HEAD(rest)
            self._needed += high << 16 | low

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
            self._left_ends = flags & frames.END_STREAM != 0
            self._left_stream = self._admit(stream_id, size, events)
            if self._left_stream is not None:
                self._count(self._left_stream, size, self._left_ends, events)
        elif kind > frames.CONTINUATION:
            self._connection.charge()
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
            self._connection.charge()
        elif stream is not None:
            self._count(stream, len(payload), ended, events)
            if not stream.closed:
                self._deliver(stream, payload, ended, events)

    def _admit(self, stream_id: int, size: int, events: list[Event]) -> Stream | None:
        """Takes a DATA frame from the windows; gives the stream that it is for, if it is for any."""
        connection = self._connection
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection allows")
        stream = self._streams.get(stream_id)
        if stream is None:
            if connection.is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data for a stream that has not begun")
            connection.charge()
            if not connection.was_reset(stream_id):
                connection.send_reset(stream_id, ErrorCode.STREAM_CLOSED)
            return None
        stream.receive_window -= size
        if stream.ended:
            connection.fail(stream, ErrorCode.STREAM_CLOSED, events)
            return None
        if stream.receive_window < 0:
            connection.fail(stream, ErrorCode.FLOW_CONTROL_ERROR, events)
            return None
        return stream

    def _count(self, stream: Stream, size: int, ended: bool, events: list[Event]) -> None:
        """Holds a body against its announced length, before anything of the frame is told."""
        if stream.body_left is not None:
            stream.body_left -= size
            if stream.body_left < 0 or (ended and stream.body_left):
                self._connection.fail(stream, ErrorCode.PROTOCOL_ERROR, events)

    def _deliver(self, stream: Stream, payload: memoryview, ended: bool, events: list[Event]) -> None:
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
        self._connection.charge()
        self._blocks.check_size(len(part))
        self._blocks.add(part)
        if flags & frames.END_HEADERS:
            self._expected = 0
            block, ended = self._blocks.complete()
            self._read_headers(stream_id, block, ended, events)

    def _read_headers(self, stream_id: int, block: bytes, ended: bool, events: list[Event]) -> None:
        if stream_id <= self.last_id or not stream_id & 1:
            self._read_trailers(stream_id, block, ended, events)
            return
        self.last_id = stream_id
        connection = self._connection
        request = self._memo.get(block)
        if request is None:
            self._blocks.check_size(len(block))
            try:
                request = self._blocks.request(block)
            except StreamFault as fault:
                connection.charge()
                connection.send_reset(stream_id, fault.code)
                return
        if stream_id > connection.final_id:
            return
        if len(self._streams) >= self._limits.max_concurrent_streams:
            connection.charge()
            connection.send_reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        stream = connection.stream_type(
            connection,
            stream_id,
            request,
            connection.outbound.stream_window,
            self._limits.stream_window_bytes,
        )
        self._streams[stream_id] = stream
        if ended:
            stream.ended = True
        if request.content_length is not None:
            stream.body_left = request.content_length
            if ended and stream.body_left:
                connection.reset(stream, ErrorCode.PROTOCOL_ERROR)
                connection.charge()
                return
        events.append((REQUEST, stream, NOTHING, ended))

    def _read_trailers(self, stream_id: int, block: bytes, ended: bool, events: list[Event]) -> None:
        """Reads a header block that begins no stream."""
        connection = self._connection
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the id is not one of a client's stream")
        connection.charge()
        self._blocks.check_size(len(block))
        fields = self._blocks.decode(block)
        stream = self._streams.get(stream_id)
        if stream is None:
            if not connection.was_reset(stream_id):
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "headers for a closed stream")
        elif stream.ended:
            connection.fail(stream, ErrorCode.STREAM_CLOSED, events)
        elif not ended or stream.body_left:
            connection.fail(stream, ErrorCode.PROTOCOL_ERROR, events)
        else:
            try:
                check_trailers(fields)
            except StreamFault as fault:
                connection.fail(stream, fault.code, events)
                return
            stream.ended = True
            events.append((TRAILERS, stream, NOTHING, True))
