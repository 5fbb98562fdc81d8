"""One request on a connection, as long as it is not answered."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lepton_http2.requests import Request

if TYPE_CHECKING:
    from lepton_http2.connection import Connection

__all__ = ["Stream"]


class Stream:
    """One request. A connection knows it until it is answered or reset.

    What a stream starts with and most never change are attributes of the class: a request that is answered
    at once pays for no more than it uses.
    """

    ended = False
    """Whether the peer has sent everything."""
    closed = False
    """Whether the connection has forgotten it. Nothing more can be sent."""
    headers_sent = False
    body_left: int | None = None
    """What is missing of the announced content-length."""
    unconfirmed = 0
    """Octets that the reader took and that no WINDOW_UPDATE has given back."""
    queue: deque[memoryview] | None = None
    """Data that waits for a window."""
    queued_bytes = 0
    trailers: bytes | None = None
    """The header block that ends the stream when the queue is empty; an empty one for none."""

    def __init__(
        self, connection: Connection, id: int, request: Request, send_window: int, receive_window: int
    ) -> None:
        self.connection = connection
        self.id = id
        self.request = request
        self.send_window = send_window
        self.receive_window = receive_window

    def drained(self) -> None:
        """Told when what waited for a window has been sent."""

    def forgotten(self) -> None:
        """Told when the connection has forgotten it."""
