"""What a server allows, and how long it waits."""

from dataclasses import dataclass

from lepton_http2.frames import FIRST_WINDOW, MAX_WINDOW
from lepton_http2.grpc.messages import PREFIX_BYTES
from lepton_http2.limits import Limits

__all__ = ["Options"]

# Twice as much is the largest window.
_LARGEST_MESSAGE = MAX_WINDOW // 2 - PREFIX_BYTES


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a server. Times are in seconds; 0 is never.

    Raises:
        ValueError: one of them cannot be.
    """

    max_message_bytes: int = 4 << 20
    """A request message, before and after decompression; larger ones end with RESOURCE_EXHAUSTED."""

    max_buffered_bytes: int = 64 << 20
    """What may lie in the memory of one connection: messages that are not whole, and those that no handler
    has taken. The call that goes beyond ends with RESOURCE_EXHAUSTED."""

    max_total_buffered_bytes: int = 1 << 30
    """The same of all connections together, to the second. The calls of those that hold most end with
    RESOURCE_EXHAUSTED."""

    max_concurrent_calls: int = 1024
    """Of one connection; more wait at the client."""

    default_timeout_seconds: float = 0.0
    """How long calls may take that come without a deadline."""

    max_metadata_bytes: int = 16 << 10
    """The header fields of a call, each with 32 octets more."""

    max_frame_bytes: int = 1 << 20
    """See `Limits.max_frame_bytes`."""

    max_connections: int = 0
    """Connections at a time; more are closed at once."""

    handshake_seconds: float = 20.0
    """From the connection to the client's first frame."""

    stall_seconds: float = 60.0
    """How long a client may leave a frame incomplete, or take nothing of what it asked for."""

    request_seconds: float = 60.0
    """How long a client may take to send a message that it has begun, or the only one of a call, to the
    second: what has come of it lies in memory. The call ends with DEADLINE_EXCEEDED."""

    idle_seconds: float = 0.0
    """How long a connection may be without a call."""

    max_age_seconds: float = 0.0
    """How long a connection lives, give or take a tenth, so that clients find new servers."""

    max_age_grace_seconds: float = 0.0
    """How long its calls may take to end after that."""

    keepalive_seconds: float = 0.0
    """How long a client may be silent before it is asked whether it is there."""

    keepalive_timeout_seconds: float = 20.0
    """How long it may take to answer."""

    control_frames_per_second: int = 10_000
    """See `Limits.control_frames`."""

    resets_per_second: int = 1_000
    """See `Limits.resets`."""

    def __post_init__(self) -> None:
        if not 0 < self.max_message_bytes <= min(self.max_buffered_bytes, _LARGEST_MESSAGE):
            raise ValueError(f"max_message_bytes must be from 1 to max_buffered_bytes and {_LARGEST_MESSAGE}")

    def limits(self) -> Limits:
        """What follows for a connection.

        A stream's window is given back when half of it is read, and the other half holds a whole message: a
        reader that waits for the end of one cannot wait in vain.
        """
        window = 2 * (self.max_message_bytes + PREFIX_BYTES)
        return Limits(
            max_concurrent_streams=self.max_concurrent_calls,
            max_frame_bytes=self.max_frame_bytes,
            max_header_list_bytes=self.max_metadata_bytes,
            stream_window_bytes=max(window, FIRST_WINDOW),
            control_frames=self.control_frames_per_second,
            resets=self.resets_per_second,
        )
