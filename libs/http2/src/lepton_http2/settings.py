"""The settings of both sides (RFC 9113, section 6.5)."""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

from lepton_http2.errors import ConnectionFault, ErrorCode
from lepton_http2.frames import FIRST_FRAME, FIRST_WINDOW, MAX_FRAME, MAX_WINDOW, settings, window_update
from lepton_http2.limits import Limits

__all__ = ["Setting", "greeting", "read_settings"]

_ENTRY = Struct(">HI")


class Setting(IntEnum):
    """What can be set."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


def greeting(limits: Limits) -> bytes:
    """What a server sends first: its settings, and all of the connection's receive window."""
    ours = {
        Setting.HEADER_TABLE_SIZE: limits.header_table_bytes,
        Setting.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
        Setting.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
        Setting.MAX_FRAME_SIZE: limits.max_frame_bytes,
        Setting.MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
    }
    return settings(ours.items()) + window_update(0, MAX_WINDOW - FIRST_WINDOW)


def read_settings(payload: memoryview) -> Iterator[tuple[int, int]]:
    """Reads the payload of a SETTINGS frame, in order; what we do not know is among it.

    Raises:
        ConnectionFault: a value is not allowed.
    """
    if len(payload) % _ENTRY.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS frame ends within a setting")
    for setting, value in _ENTRY.iter_unpack(payload):
        if setting == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if setting == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
        if setting == Setting.MAX_FRAME_SIZE and not FIRST_FRAME <= value <= MAX_FRAME:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
        yield setting, value
