"""What a peer may take of a connection."""

from dataclasses import dataclass

from lepton_http2.frames import FIRST_FRAME, FIRST_WINDOW, MAX_FRAME, MAX_WINDOW

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one connection.

    Raises:
        ValueError: HTTP/2 does not allow one of them.
    """

    max_concurrent_streams: int = 1024
    """Requests in flight; more are refused, to be sent again."""

    max_header_list_bytes: int = 16 << 10
    """The header fields of a request, each counted with 32 octets more. A block of twice as many octets on
    the wire ends the connection."""

    header_table_bytes: int = 4096
    """The peer's compression table."""

    max_frame_bytes: int = 1 << 20
    """The payload of a frame; large ones are cheap, but other streams wait for their end."""

    stream_window_bytes: int = MAX_WINDOW
    """What a peer may send on a stream before its reader has taken it."""

    control_frames: int = 10_000
    """Frames that carry no request (PING, SETTINGS, WINDOW_UPDATE, empty DATA ...), for each interval between
    calls of `Connection.relax`. Every answer adds to them."""

    resets: int = 1_000
    """Requests that the peer takes back before they are answered, for the same interval. Every answer
    allows another one."""

    def __post_init__(self) -> None:
        if not FIRST_FRAME <= self.max_frame_bytes <= MAX_FRAME:
            raise ValueError(f"max_frame_bytes must be from {FIRST_FRAME} to {MAX_FRAME}")
        if not FIRST_WINDOW <= self.stream_window_bytes <= MAX_WINDOW:
            raise ValueError(f"stream_window_bytes must be from {FIRST_WINDOW} to {MAX_WINDOW}")
        if self.max_concurrent_streams < 1:
            raise ValueError("max_concurrent_streams must be at least 1")
