"""Followers see every change soon, whichever process made it."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from lepton.model.v1.model_pb2 import Model
from lepton_common.errors import NotFound
from lepton_common.records import Collection, ResourceStore


@pytest.fixture
def models(records: ResourceStore) -> Collection[Model]:
    return records.collection(Model)


@pytest.fixture
async def elsewhere(records: ResourceStore, database_url: str) -> AsyncIterator[Collection[Model]]:
    """The same collection through a second store, as another replica of the service has it."""
    store = await ResourceStore.open(database_url)
    yield store.collection(Model)
    await store.close()


def describe(model: Model) -> None:
    model.description += "x"


async def test_every_write_raises_the_revision(
    models: Collection[Model], elsewhere: Collection[Model]
) -> None:
    seen = [await models.revision()]
    for write in (
        models.create(Model(name="models/a")),
        elsewhere.update("models/a", describe),
        models.put(Model(name="models/a")),
        elsewhere.delete("models/a"),
    ):
        await write
        seen.append(await models.revision())
    assert seen[0] == 0
    assert seen == sorted(set(seen))


async def test_a_revision_shows_only_with_what_it_counts(
    models: Collection[Model], elsewhere: Collection[Model]
) -> None:
    """Whoever has seen revision n finds everything that was written up to n."""

    async def write(collection: Collection[Model], writer: str) -> None:
        for turn in range(15):
            await collection.create(Model(name=f"models/{writer}{turn}"))

    async def check() -> None:
        revision = 0
        while revision < 30:
            revision = await elsewhere.revision()
            assert len((await models.list()).items) >= revision

    await asyncio.gather(write(models, "a"), write(elsewhere, "b"), check())


async def test_a_change_here_wakes_a_follower_at_once(models: Collection[Model]) -> None:
    changes = aiter(models.changes())
    assert await anext(changes) == 0
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    await models.create(Model(name="models/a"))
    async with asyncio.timeout(0.1):
        assert await waiting == 1


async def test_a_change_of_another_process_is_seen_within_half_a_second(
    models: Collection[Model], elsewhere: Collection[Model]
) -> None:
    watch = aiter(models.watch("models/a"))
    await elsewhere.create(Model(name="models/a"))
    assert (await anext(watch)).description == ""
    took = []
    for _ in range(4):
        waiting = asyncio.ensure_future(anext(watch))
        await elsewhere.update("models/a", describe)
        start = time.monotonic()
        await waiting
        took.append(time.monotonic() - start)
    # Each may be held up by a busy machine; all of them are not.
    assert min(took) < 0.5


async def test_a_watch_tells_the_state_now_and_every_later_one(models: Collection[Model]) -> None:
    await models.create(Model(name="models/a"))
    seen = []
    async for model in models.watch("models/a"):
        seen.append(model.description)
        if len(seen) == 4:
            break
        await models.create(Model(name=f"models/other{len(seen)}"))
        await models.update("models/a", describe)
    assert seen == ["", "x", "xx", "xxx"]


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "deleted and made anew"])
async def test_a_watch_ends_with_its_resource(models: Collection[Model], again: bool) -> None:
    await models.create(Model(name="models/a"))
    watch = aiter(models.watch("models/a"))
    await anext(watch)
    await models.delete("models/a")
    if again:
        await models.create(Model(name="models/a"))
    with pytest.raises(NotFound, match="models/a"):
        await anext(watch)


async def test_many_followers_cost_one_look_at_the_database_each_time(
    models: Collection[Model], elsewhere: Collection[Model]
) -> None:
    watches = [aiter(models.watch("models/a")) for _ in range(200)]
    await models.create(Model(name="models/a"))
    await asyncio.gather(*(anext(watch) for watch in watches))
    waiting = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await elsewhere.update("models/a", describe)
    async with asyncio.timeout(3):
        assert {model.description for model in await asyncio.gather(*waiting)} == {"x"}
