"""A session on an asyncio transport."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
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
# How long a peer may take to say that it has read a GOAWAY, and to close a connection that has ended.
_DRAIN_SECONDS = 2.0
_LINGER_SECONDS = 1.0


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
        self._born = now
        self._dies = now + age if age else math.inf
        # When the peer was last heard, when it last completed anything, when it last had calls, when it last
        # took something of what waits for it, and when it was asked whether it is there.
        self._heard = self._moved = self._busy = self._taken = self._asked = now
        self._untaken = (0, 0, 0)
        self._drains_since = self._ended_at = math.inf

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = f"{peer[0]}:{peer[1]}" if len(peer) == 2 else f"[{peer[0]}]:{peer[1]}"
        tls = transport.get_extra_info("ssl_object")
        if not self.server.admit(self) or (tls is not None and not self._admit_tls(tls)):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
        self.flush()

    def _admit_tls(self, tls: ssl.SSLObject) -> bool:
        self.peer_certificate = tls.getpeercert() or None
        return tls.selected_alpn_protocol() == "h2"

    def data_received(self, data: bytes) -> None:
        session = self.session
        self._heard = now = time.monotonic()
        # Answers of this turn wait for each other.
        session.flushing = True
        try:
            if session.receive(data, now) or not session.incomplete:
                self._moved = now
        except Exception:
            _LOG.exception("a connection failed")
            session.abort(ErrorCode.INTERNAL_ERROR, "")
        self.flush()

    def pause_writing(self) -> None:
        # Who takes no answers needs to ask no more.
        self.session.paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.session.resume()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.session.lost()
        self.server.forget(self)

    # What the session calls.

    def flush(self) -> None:
        """Writes what is to be sent."""
        session = self.session
        session.flushing = False
        session.unflushed_bytes = 0
        transport = self._transport
        if transport is None or self._ended_at != math.inf:
            return
        data = session.data_to_send()
        if data:
            transport.write(data)
        if session.closed:
            # The peer shall read what was written before it hears that nothing else is read.
            self._ended_at = time.monotonic()
            session.lost()
            # A peer that is gone already is as good as one that has heard.
            with contextlib.suppress(OSError):
                if transport.can_write_eof():
                    transport.write_eof()

    def flush_soon(self) -> None:
        """Has it written before the loop waits again."""
        self.server.loop.call_soon(self.flush)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a handler."""
        return self.server.spawn(work)

    # What the server calls.

    def drain(self) -> None:
        """Begins to end the connection: calls that came are answered."""
        if self._drains_since == math.inf:
            self._drains_since = time.monotonic()
            self.session.drain()
            self.flush()

    def close(self) -> None:
        """Ends the connection, and the calls on it."""
        self.session.give_up()
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection without a word more."""
        if self._transport is not None:
            self._transport.abort()

    def tick(self, now: float) -> None:
        """Looks at what time has done. Called each second."""
        session, transport, options = self.session, self._transport, self.server.options
        session.relax()
        if transport is None:
            return
        self._look(now, transport)
        session.end_late(now)
        stall = options.stall_seconds or math.inf
        if now - self._taken > stall:
            # What is left cannot be written either.
            transport.abort()
        elif session.closed:
            if now - self._ended_at > _LINGER_SECONDS and not transport.get_write_buffer_size():
                transport.close()
        elif not session.greeted and now - self._born > (options.handshake_seconds or math.inf):
            session.protest("no settings came")
        elif now - self._moved > stall and session.incomplete:
            session.protest("a frame was not completed")
        elif self._drains_since != math.inf:
            self._continue_drain(now)
        elif now > self._dies or now - self._busy > (options.idle_seconds or math.inf):
            self.drain()
        else:
            self._keep_alive(now)

    def _look(self, now: float, transport: asyncio.Transport) -> None:
        """Notes what has changed since the last look."""
        outbound = self.session.outbound
        untaken = (outbound.queued_bytes, outbound.window, transport.get_write_buffer_size())
        if untaken != self._untaken or not (outbound.queued_bytes or untaken[2]):
            self._taken = now
        self._untaken = untaken
        if self.session.streams:
            self._busy = now

    def _continue_drain(self, now: float) -> None:
        grace = self.server.options.max_age_grace_seconds or math.inf
        if now - self._drains_since > _DRAIN_SECONDS:
            self.session.finish()
            self.session.flush_soon()
        if now - self._dies > grace:
            self.close()

    def _keep_alive(self, now: float) -> None:
        options, session = self.server.options, self.session
        if not options.keepalive_seconds or session.paused:
            return
        if session.ping_unanswered:
            if now - max(self._asked, self._heard) > options.keepalive_timeout_seconds:
                session.protest("a ping was not answered")
        elif now - self._heard > options.keepalive_seconds:
            self._asked = now
            session.ping()
            session.flush_soon()
