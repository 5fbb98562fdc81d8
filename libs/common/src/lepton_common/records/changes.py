"""Following the revision of a collection, whichever process writes into it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

POLL_SECONDS = 0.2
"""How often a follower looks for writes of other processes."""


class Changes:
    """The revision of one collection, shared by all who follow it in this process.

    A write of this process wakes the followers at once. Writes of others are found by reading the
    revision, at most twice per `POLL_SECONDS` however many follow, and seen within 1.5 times that.
    """

    def __init__(self, read: Callable[[], Awaitable[int]]) -> None:
        """Follow the revision that `read` reads from the store."""
        self._read = read
        self._revision = 0
        self._read_at = float("-inf")
        self._grown = asyncio.Event()
        self._reading = asyncio.Lock()

    def advance(self, revision: int) -> None:
        """Note that the collection has come to `revision`."""
        if revision > self._revision:
            self._revision = revision
            self._grown.set()
            self._grown = asyncio.Event()

    async def follow(self) -> AsyncIterator[int]:
        """Yield the revision now, and again whenever it has grown, skipping what came between."""
        seen = await self._read()
        self.advance(seen)
        while True:
            yield seen
            while self._revision <= seen:
                await self._wait()
            seen = self._revision

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._grown.wait()
        except TimeoutError:
            async with self._reading:
                if time.monotonic() - self._read_at >= POLL_SECONDS / 2:
                    self.advance(await self._read())
                    self._read_at = time.monotonic()
