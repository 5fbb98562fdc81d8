"""What `Connection.feed` tells of."""

from lepton_http2.streams import Stream

__all__ = ["DATA", "NOTHING", "REQUEST", "RESET", "TRAILERS", "Event"]

Event = tuple[int, Stream, memoryview, bool]
"""What happened, to which stream, with which payload, and whether the peer has now sent everything.

A plain tuple, since there are two of them for each call.
"""

REQUEST = 1
"""A stream has begun: its `request` is whole."""
DATA = 2
"""A piece of the body came."""
TRAILERS = 3
"""The body has ended with trailers."""
RESET = 4
"""The peer took the request back, or it cannot go on. The stream is closed."""

NOTHING = memoryview(b"")
"""The payload of all but DATA."""
