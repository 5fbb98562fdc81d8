"""The frames that carry no request: what each does to a connection (RFC 9113, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lepton_http2 import frames
from lepton_http2.errors import ConnectionFault, ErrorCode, StreamFault
from lepton_http2.frames import MAX_WINDOW
from lepton_http2.settings import Setting, read_settings

if TYPE_CHECKING:
    from lepton_http2.connection import Connection
    from lepton_http2.events import Event

__all__ = ["DRAIN_PING", "KEEPALIVE_PING", "bare_headers", "read", "unpadded"]

_DRAIN = b"draining"
_KEEPALIVE = b"alive?.."
DRAIN_PING = frames.frame(frames.PING, 0, 0, _DRAIN)
"""Answered when the peer has read everything in front of it."""
KEEPALIVE_PING = frames.frame(frames.PING, 0, 0, _KEEPALIVE)

_UINT32 = frames.UINT32.unpack_from
_PRIORITY_BYTES = 5


def unpadded(payload: memoryview) -> memoryview:
    """The payload of a padded frame without its padding."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than there is room for")
    return payload[1 : len(payload) - payload[0]]


def bare_headers(flags: int, stream_id: int, payload: bytes) -> bytes:
    """The header block of a HEADERS frame with padding or a priority."""
    bare = memoryview(payload)
    if flags & frames.PADDED:
        bare = unpadded(bare)
    if flags & frames.PRIORITY_FLAG:
        if len(bare) < _PRIORITY_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS ends within its priority")
        _check_dependency(stream_id, bare)
        bare = bare[_PRIORITY_BYTES:]
    return bytes(bare)


def read(
    connection: Connection,
    kind: int,
    flags: int,
    stream_id: int,
    payload: memoryview,
    events: list[Event],
) -> None:
    """Reads a frame that is neither DATA nor part of a header block. What we do not know is passed over.

    Raises:
        ConnectionFault: it breaks a rule.
    """
    reader = _READERS.get(kind)
    if reader is not None:
        reader(connection, flags, stream_id, payload, events)


def _check_size(payload: memoryview, size: int) -> None:
    if len(payload) != size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame has the wrong size")


def _check_connection(stream_id: int) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame for the connection names a stream")


def _check_dependency(stream_id: int, payload: memoryview) -> None:
    """Priorities are of no use any more (section 5.3.2), but one that cannot be is still an error."""
    if _UINT32(payload)[0] & MAX_WINDOW == stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")


def _read_priority(
    connection: Connection, flags: int, stream_id: int, payload: memoryview, events: list[Event]
) -> None:
    if not stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY names no stream")
    _check_size(payload, _PRIORITY_BYTES)
    _check_dependency(stream_id, payload)


def _read_rst_stream(
    connection: Connection, flags: int, stream_id: int, payload: memoryview, events: list[Event]
) -> None:
    _check_size(payload, 4)
    if connection.is_idle(stream_id):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream is reset that has not begun")
    stream = connection.streams.get(stream_id)
    if stream is not None:
        connection.lose(stream, events)


def _read_settings(
    connection: Connection, flags: int, stream_id: int, payload: memoryview, events: list[Event]
) -> None:
    _check_connection(stream_id)
    if flags & frames.ACK:
        _check_size(payload, 0)
        return
    connection.charge(len(payload) // 6)
    outbound = connection.outbound
    # In front of the data that larger windows let through: the peer may take it for an answer to them.
    outbound.chunks.append(frames.SETTINGS_ACK)
    for setting, value in read_settings(payload):
        if setting == Setting.INITIAL_WINDOW_SIZE:
            growth = value - outbound.stream_window
            outbound.stream_window = value
            connection.charge(len(connection.streams) // 8)
            try:
                for stream in list(connection.streams.values()):
                    outbound.grant_stream(stream, growth)
            except StreamFault as fault:
                raise ConnectionFault(fault.code, fault.message) from fault
        elif setting == Setting.MAX_FRAME_SIZE:
            outbound.resize_frames(value)
        elif setting == Setting.HEADER_TABLE_SIZE:
            outbound.resize_table(value)


def _read_push_promise(
    connection: Connection, flags: int, stream_id: int, payload: memoryview, events: list[Event]
) -> None:
    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client cannot push")


def _read_ping(
    connection: Connection, flags: int, stream_id: int, payload: memoryview, events: list[Event]
) -> None:
    _check_connection(stream_id)
    _check_size(payload, 8)
    if not flags & frames.ACK:
        connection.outbound.chunks.append(frames.frame(frames.PING, frames.ACK, 0, bytes(payload)))
    elif payload == _KEEPALIVE:
        connection.ping_unanswered = False
    elif payload == _DRAIN and connection.draining:
        connection.finish()


def _read_goaway(
    connection: Connection, flags: int, stream_id: int, payload: memoryview, events: list[Event]
) -> None:
    # The peer takes no more streams of ours, and we begin none. Its own are answered as ever.
    _check_connection(stream_id)
    if len(payload) < 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")


def _read_window_update(
    connection: Connection, flags: int, stream_id: int, payload: memoryview, events: list[Event]
) -> None:
    _check_size(payload, 4)
    increment = _UINT32(payload)[0] & MAX_WINDOW
    if not stream_id:
        if not increment:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window is opened by nothing")
        connection.outbound.grant(increment)
        return
    if connection.is_idle(stream_id):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window is opened for a stream that has not begun")
    stream = connection.streams.get(stream_id)
    if stream is None:
        return
    if not increment:
        connection.fail(stream, ErrorCode.PROTOCOL_ERROR, events)
        return
    try:
        connection.outbound.grant_stream(stream, increment)
    except StreamFault as fault:
        connection.fail(stream, fault.code, events)


_Reader = Callable[["Connection", int, int, memoryview, "list[Event]"], None]
_READERS: dict[int, _Reader] = {
    frames.PRIORITY: _read_priority,
    frames.RST_STREAM: _read_rst_stream,
    frames.SETTINGS: _read_settings,
    frames.PUSH_PROMISE: _read_push_promise,
    frames.PING: _read_ping,
    frames.GOAWAY: _read_goaway,
    frames.WINDOW_UPDATE: _read_window_update,
}
