"""Locks by name, for what no transaction can hold together: changes of a database and of other stores."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Engine, text

_LOOK_SECONDS = 0.05


class InThread(Protocol):
    """Runs a call to the database in a thread."""

    def __call__(self, call: Callable[[], Any]) -> Awaitable[Any]:
        """Return what `call` returns."""


class Locks:
    """Locks that one call at a time holds, in this process or, with a server, in any."""

    def __init__(self, server: Engine | None, run: InThread) -> None:
        """Lock among all processes on `server`, each lock with a connection of its own, opened by `run`.

        Args:
            server: PostgreSQL, whose locks end with the connections that took them. None: among the calls of
                this process alone.
            run: Runs what waits for the server.
        """
        self._server = server
        self._run = run
        self._here: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Wait for the lock `name`, and hold it.

        Raises:
            DependencyUnavailable: The database does not answer.
        """
        here = self._here.setdefault(name, asyncio.Lock())
        async with here:
            if self._server is None:
                yield
                return
            connection: Connection = await self._run(self._server.connect)
            try:
                while not await self._run(lambda: _try(connection, name)):
                    await asyncio.sleep(_LOOK_SECONDS)
                yield
            finally:
                # The lock goes with it, also if it was never known whether it was got.
                await self._run(connection.close)


def _try(connection: Connection, name: str) -> bool:
    digest = hashlib.sha256(name.encode()).digest()
    key = int.from_bytes(digest[:8], signed=True)
    taken = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar_one()
    return bool(taken)
