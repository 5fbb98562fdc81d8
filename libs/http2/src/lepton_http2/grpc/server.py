"""A gRPC server on asyncio.

    server = Server([direct("/shop.Prices/Get", get_price)])
    address = await server.listen("127.0.0.1", 0)
    ...
    await server.drain(30.0)

It runs on whatever event loop runs; on uvloop's it is faster.
"""

import asyncio
import logging
import math
import socket
import ssl
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from lepton_http2.grpc.deadlines import Deadlines
from lepton_http2.grpc.methods import Method
from lepton_http2.grpc.options import Options
from lepton_http2.grpc.protocol import ServerProtocol

__all__ = ["Server"]

_LOG = logging.getLogger(__name__)
_BACKLOG = 1024
_TICK_SECONDS = 1.0
# How long a connection may take to write its last words.
_CLOSE_SECONDS = 1.0


class Server:
    """A server. To be made within a running event loop.

    Args:
        methods: what it answers.
        options: what it allows.
    """

    def __init__(self, methods: Iterable[Method], options: Options | None = None) -> None:
        self.methods = {method.path.encode(): method for method in methods}
        self.options = options or Options()
        self.loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(self.loop)
        self._listeners: list[asyncio.Server] = []
        self._connections: set[ServerProtocol] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._ticker = self.loop.call_later(_TICK_SECONDS, self._tick)

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    @property
    def calls(self) -> int:
        """Calls that are not answered."""
        return sum(len(connection.session.streams) for connection in tuple(self._connections))

    @property
    def buffered_bytes(self) -> int:
        """What lies in memory of requests that no handler has taken."""
        return sum(connection.session.buffered_bytes for connection in tuple(self._connections))

    async def listen(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, reuse_port: bool = False
    ) -> tuple[str, int]:
        """Listens on another address.

        Args:
            host: a name or an address.
            port: 0 for any that is free.
            tls: see `lepton_http2.tls.server_context`; None for plain HTTP/2.
            reuse_port: whether other processes may listen on it too.

        Returns:
            The address.

        Raises:
            OSError: it cannot be taken.
        """
        listener = await self.loop.create_server(
            lambda: ServerProtocol(self),
            host,
            port,
            backlog=_BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=self.options.handshake_seconds or None if tls else None,
            reuse_port=reuse_port or None,
        )
        return self._add(listener)

    async def listen_on(self, bound: socket.socket, *, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Listens on a socket that is bound, of TCP or a local one.

        Returns:
            The address; a local one has a path, and port 0.
        """
        create = self.loop.create_unix_server if bound.family == socket.AF_UNIX else self.loop.create_server
        listener = await create(lambda: ServerProtocol(self), sock=bound, backlog=_BACKLOG, ssl=tls)
        return self._add(listener)

    def _add(self, listener: asyncio.Server) -> tuple[str, int]:
        self._listeners.append(listener)
        name = listener.sockets[0].getsockname()
        return (name[0], name[1]) if isinstance(name, tuple) else (str(name), 0)

    def leave(self) -> None:
        """Asks the clients that are there to go elsewhere.

        What they ask until they have heard of it is answered. Others may still come, until `drain`.
        """
        for connection in list(self._connections):
            connection.drain()

    async def drain(self, grace_seconds: float | None = None) -> None:
        """Stops: takes no more connections, answers the calls that came, and ends.

        Args:
            grace_seconds: how long calls may take; then they are cancelled. None: as long as they like.
        """
        self._draining = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.drain()
        if not await self._wait_for_connections(grace_seconds) and self.calls:
            _LOG.warning("%d calls did not end in time", self.calls)
        for connection in list(self._connections):
            connection.close()
        if not await self._wait_for_connections(_CLOSE_SECONDS):
            for connection in list(self._connections):
                connection.abort()
            await self._wait_for_connections(_CLOSE_SECONDS)
        self._ticker.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait_for_connections(self, seconds: float | None) -> bool:
        """Waits until there is none; whether there is."""
        try:
            async with asyncio.timeout(seconds):
                await self._none_left.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stops at once."""
        await self.drain(0)

    # What connections call.

    def admit(self, connection: ServerProtocol) -> bool:
        """Takes a connection, or does not."""
        most = self.options.max_connections
        if self._draining or (most and len(self._connections) >= most):
            return False
        self._connections.add(connection)
        self._none_left.clear()
        return True

    def forget(self, connection: ServerProtocol) -> None:
        """Lets go of a connection that has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._none_left.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a handler, and keeps hold of it."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tick(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.tick(now)
        self._make_room()
        self._ticker = self.loop.call_later(_TICK_SECONDS, self._tick)

    def _make_room(self) -> None:
        """Ends calls where most is held, if all connections together hold too much."""
        excess = self.buffered_bytes - (self.options.max_total_buffered_bytes or math.inf)
        if excess <= 0:
            return
        for connection in sorted(self._connections, key=_held_bytes, reverse=True):
            excess -= _held_bytes(connection)
            connection.session.let_go()
            if excess <= 0:
                return


def _held_bytes(connection: ServerProtocol) -> int:
    return connection.session.buffered_bytes
