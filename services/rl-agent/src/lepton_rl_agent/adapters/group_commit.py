"""Group commit: changes that arrive while a transaction runs share the next one.

A commit waits for the disk, which takes longer than all else. So the disk is waited for once for all
changes that came meanwhile, and a lone change waits for nobody.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from lepton_common.records.database import Database, Session

MAX_CHANGES = 512
"""Changes in one transaction."""

T = TypeVar("T")
_Waiting = tuple[Callable[[Connection], Any], asyncio.Future[Any]]


class GroupCommit:
    """Writes changes to a database, many in one transaction.

    Args:
        database: where to.
        kind: what other writers of the same tables are kept out by.
    """

    def __init__(self, database: Database, kind: str) -> None:
        self._database = database
        self._kind = kind
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Make a change and return what it returns, once it is on the disk.

        It may be run twice, the first time for nothing: when another of its transaction has failed.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_waiting())
        return cast(T, await done)

    async def close(self) -> None:
        """Let what was begun end."""
        if self._writing is not None:
            await self._writing

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MAX_CHANGES], self._waiting[MAX_CHANGES:]
                await self._write_together(group)
        finally:
            self._writing = None

    async def _write_together(self, group: list[_Waiting]) -> None:
        def write(session: Session) -> list[Any]:
            return [change(session.connection) for change, _ in group]

        try:
            results = await self._database.write(write, [self._kind])
        except Exception as error:  # handed over to who waits for it
            if len(group) == 1:
                _answer(group[0], error=error)
            else:
                for one in group:
                    await self._write_together([one])
            return
        for one, result in zip(group, results, strict=True):
            _answer(one, result=result)


def _answer(waiting: _Waiting, *, result: Any = None, error: Exception | None = None) -> None:
    _, done = waiting
    if done.done():  # who waited has gone away
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
