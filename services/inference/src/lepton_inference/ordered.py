"""Concurrent work whose results come in the order of what was asked."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    work: Callable[[Item], Coroutine[Any, Any, Result]], items: AsyncIterator[Item], *, window: int
) -> AsyncGenerator[Result]:
    """Does `work` on each item, on at most `window` at a time, and gives results in the order of the items.

    A result is given as soon as it and all before it are there, whether or not more items
    come. What is under way is cancelled when the caller stops listening.
    """
    room = asyncio.Semaphore(window)
    started: asyncio.Queue[asyncio.Task[Result] | None] = asyncio.Queue()
    unanswered: set[asyncio.Task[Result]] = set()

    async def start_all() -> None:
        async for item in items:
            await room.acquire()
            task = asyncio.create_task(work(item))
            unanswered.add(task)
            started.put_nowait(task)

    reader = asyncio.create_task(start_all())
    # However the reading ends, whoever waits for the next result hears of it.
    reader.add_done_callback(lambda _: started.put_nowait(None))
    try:
        while task := await started.get():
            yield await task
            unanswered.discard(task)
            room.release()
        await reader
    finally:
        for unfinished in (reader, *unanswered):
            unfinished.cancel()
        await asyncio.gather(reader, *unanswered, return_exceptions=True)
