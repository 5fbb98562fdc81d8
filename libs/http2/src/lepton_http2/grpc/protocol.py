"""A session on an asyncio transport."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from lepton_http2.errors import ErrorCode
from lepton_http2.grpc.session import Session

if TYPE_CHECKING:
    from lepton_http2.grpc.server import Server

__all__ = ["ServerProtocol"]

_LOG = logging.getLogger(__name__)

# What a transport may have to write before its peer is not read any more. Answers are small; those of a whole
# turn of the loop go out in one write.
_HIGH_WATER_BYTES = 1 << 20
# How far the lives of connections differ, so that they do not all end at once.
_JITTER = 0.1
# How long a peer may take to say that it has read a GOAWAY.
_DRAIN_SECONDS = 2.0


class ServerProtocol(asyncio.Protocol):
    """One connection of a server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.deadlines = server.deadlines
        self.peer = ""
        self.peer_certificate: dict[str, Any] | None = None
        self.session = Session(server.methods, server.options, self)
        self._transport: asyncio.Transport | None = None
        now = time.monotonic()
        age = server.options.max_age_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)
        self._born = self._heard = self._asked = self._progressed = self._busy = now
        self._dies = now + age if age else 0.0
        self._drains_since = 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = f"{peer[0]}:{peer[1]}" if len(peer) == 2 else f"[{peer[0]}]:{peer[1]}"
        tls = transport.get_extra_info("ssl_object")
        if not self.server.admit(self) or (tls is not None and not self._admit_tls(tls)):
            transport.abort()
            return
        self._transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
        self._flush()

    def _admit_tls(self, tls: ssl.SSLObject) -> bool:
        self.peer_certificate = tls.getpeercert() or None
        return tls.selected_alpn_protocol() == "h2"

    def data_received(self, data: bytes) -> None:
        session = self.session
        self._heard = now = time.monotonic()
        # Answers of this turn wait for each other.
        session.flushing = True
        try:
            session.receive(data, now)
        except Exception:
            _LOG.exception("a connection failed")
            session.abort(ErrorCode.INTERNAL_ERROR, "")
        self._flush()

    def pause_writing(self) -> None:
        # Who takes no answers needs to ask no more.
        self.session.paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._progressed = time.monotonic()
        self.session.resume()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.session.lost()
        self.server.forget(self)

    # What the session calls.

    def flush_soon(self) -> None:
        """Has what is to be sent written before the loop waits again."""
        self.server.loop.call_soon(self._flush)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a handler."""
        return self.server.spawn(work)

    def _flush(self) -> None:
        session = self.session
        session.flushing = False
        transport = self._transport
        if transport is None:
            return
        data = session.data_to_send()
        if data:
            transport.write(data)
        if session.closed:
            session.lost()
            transport.close()

    # What the server calls.

    def drain(self) -> None:
        """Begins to end the connection: calls that came are answered."""
        if not self._drains_since:
            self._drains_since = time.monotonic()
            self.session.drain()
            self._flush()

    def close(self) -> None:
        """Ends the connection, and the calls on it."""
        self.session.abort(ErrorCode.NO_ERROR, "")
        self._flush()
        if self._transport is not None and self.session.paused:
            self._transport.abort()

    def tick(self, now: float) -> None:
        """Looks at what time has done. Called each second."""
        session, options = self.session, self.server.options
        session.relax()
        if self._transport is None:
            return
        if session.closed:
            # It was told to close, and has not been able to write so far.
            self._transport.abort()
            return
        if session.streams:
            self._busy = now
        if session.outbound.queued_bytes == 0 and not session.paused:
            self._progressed = now
        if not session.greeted and options.handshake_seconds and now - self._born > options.handshake_seconds:
            session.protest("no settings came")
        elif session.incomplete and options.stall_seconds and now - self._heard > options.stall_seconds:
            session.protest("a frame was not completed")
        elif options.stall_seconds and now - self._progressed > options.stall_seconds:
            # It may not read: what is left is not written either.
            session.protest("nothing was taken")
            self._transport.abort()
        elif self._drains_since:
            self._continue_drain(now)
        elif (self._dies and now > self._dies) or (
            options.idle_seconds and now - self._busy > options.idle_seconds
        ):
            self.drain()
        else:
            self._keep_alive(now)

    def _continue_drain(self, now: float) -> None:
        grace = self.server.options.max_age_grace_seconds
        if now - self._drains_since > _DRAIN_SECONDS:
            self.session.finish()
            self.session.flush_soon()
        if self._dies and grace and now > self._dies + grace:
            self.close()

    def _keep_alive(self, now: float) -> None:
        options, session = self.server.options, self.session
        if not options.keepalive_seconds:
            return
        if session.ping_unanswered:
            if now - max(self._asked, self._heard) > options.keepalive_timeout_seconds:
                session.protest("a ping was not answered")
        elif now - self._heard > options.keepalive_seconds:
            self._asked = now
            session.ping()
            session.flush_soon()
