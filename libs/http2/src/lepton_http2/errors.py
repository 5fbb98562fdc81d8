"""What can go wrong on a connection, and how the peer is told (RFC 9113, sections 5.4 and 7).

Http2Error
├── ConnectionFault   the connection ends with GOAWAY
└── StreamFault       one stream ends with RST_STREAM, the others go on
"""

from enum import IntEnum

__all__ = ["ConnectionFault", "ErrorCode", "Http2Error", "StreamFault"]


class ErrorCode(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Http2Error(Exception):
    """What the peer did wrong."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ConnectionFault(Http2Error):
    """The state that both sides share is lost, or the peer cannot be trusted: the connection ends."""


class StreamFault(Http2Error):
    """One stream cannot go on."""
