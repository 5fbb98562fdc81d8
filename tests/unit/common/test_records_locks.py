"""Locks by name, among the calls of a process and among processes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from lepton_common.records import ResourceStore

HOLDER = """
import asyncio, sys
from lepton_common.records import ResourceStore

async def main(url):
    store = await ResourceStore.open(url)
    async with store.lock("datasets/iris"):
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
async def replicas(
    new_postgresql_database: Callable[[], str],
) -> AsyncIterator[tuple[ResourceStore, ResourceStore]]:
    """Two stores that know nothing of each other, on one server."""
    url = new_postgresql_database()
    stores = await ResourceStore.open(url), await ResourceStore.open(url)
    yield stores
    for store in stores:
        await store.close()


async def in_turn(first: ResourceStore, second: ResourceStore) -> list[str]:
    """What two calls that want one lock do, the first of which is asked to wait a while inside."""
    told = []
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with first.lock("datasets/iris"):
            told.append("first in")
            inside.set()
            await go_on.wait()
            told.append("first out")

    async def follow() -> None:
        async with second.lock("datasets/iris"):
            told.append("second in")

    async with asyncio.TaskGroup() as group:
        group.create_task(hold())
        await inside.wait()
        following = group.create_task(follow())
        async with second.lock("datasets/wine"):
            told.append("another name")
        await asyncio.wait({following}, timeout=0.3)
        go_on.set()
    return told


async def test_calls_of_one_store_take_turns(records: ResourceStore) -> None:
    assert await in_turn(records, records) == ["first in", "another name", "first out", "second in"]


async def test_calls_of_two_replicas_take_turns(replicas: tuple[ResourceStore, ResourceStore]) -> None:
    assert await in_turn(*replicas) == ["first in", "another name", "first out", "second in"]


async def test_one_who_gives_up_waiting_leaves_nothing_behind(
    replicas: tuple[ResourceStore, ResourceStore],
) -> None:
    first, second = replicas
    async with first.lock("datasets/iris"):
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2), second.lock("datasets/iris"):
                raise AssertionError("two have the lock")
    async with asyncio.timeout(30), first.lock("datasets/iris"), second.lock("datasets/wine"):
        pass


async def test_one_who_fails_inside_gives_the_lock_back(
    replicas: tuple[ResourceStore, ResourceStore],
) -> None:
    first, second = replicas
    with pytest.raises(ZeroDivisionError):
        async with first.lock("datasets/iris"):
            raise ZeroDivisionError
    async with asyncio.timeout(30), second.lock("datasets/iris"):
        pass


async def test_a_process_that_is_killed_leaves_no_lock(new_postgresql_database: Callable[[], str]) -> None:
    url = new_postgresql_database()
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, url, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    store = await ResourceStore.open(url)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), store.lock("datasets/iris"):
            pass
    holder.kill()
    await holder.wait()
    async with asyncio.timeout(30), store.lock("datasets/iris"):
        pass
    await store.close()
