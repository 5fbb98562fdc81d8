"""What a resource store keeps, and whom it refuses; every test runs on SQLite and on PostgreSQL."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from lepton.model.v1.model_pb2 import Model, ModelVersion
from lepton_common.errors import AlreadyExists, EtagMismatch, InvalidField, NotFound
from lepton_common.records import Collection, ResourceStore, Transaction


@pytest.fixture
def models(records: ResourceStore) -> Collection[Model]:
    return records.collection(Model, index=lambda model: model.description[:1])


@pytest.fixture
def versions(records: ResourceStore) -> Collection[ModelVersion]:
    return records.collection(ModelVersion)


def describe(text: str) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        model.description = text

    return change


async def test_a_resource_reads_back_with_what_the_store_sets(models: Collection[Model]) -> None:
    given = Model(
        name="models/digits", description="reads digits", labels={"team": "a"}, uid="mine", etag="x"
    )
    made = await models.create(given)
    assert given.uid == "mine", "the caller's message is left alone"
    assert made == await models.get("models/digits")
    assert (made.description, dict(made.labels)) == ("reads digits", {"team": "a"})
    assert len(made.uid) == 36
    assert made.etag not in ("", "x")
    assert made.create_time == made.update_time
    age = datetime.now(UTC) - made.create_time.ToDatetime(UTC)
    assert timedelta(0) <= age < timedelta(seconds=10)


async def test_what_does_not_exist_is_not_found(models: Collection[Model]) -> None:
    assert await models.find("models/nope") is None
    for call in (
        models.get("models/nope"),
        models.update("models/nope", describe("x")),
        models.delete("models/nope"),
        anext(aiter(models.watch("models/nope"))),
    ):
        with pytest.raises(NotFound, match="models/nope"):
            await call


async def test_a_name_is_taken_once(models: Collection[Model]) -> None:
    first = await models.create(Model(name="models/a"), request_id="r1")
    for request_id in ("", "r2"):
        with pytest.raises(AlreadyExists, match="models/a"):
            await models.create(Model(name="models/a"), request_id=request_id)
    assert await models.get("models/a") == first


async def test_a_repeated_create_gives_what_the_first_made(models: Collection[Model]) -> None:
    first = await models.create(Model(name="models/a", description="1"), request_id="r")
    again = await models.create(Model(name="models/a", description="2"), request_id="r")
    assert again == first
    changed = await models.update("models/a", describe("3"))
    assert await models.create(Model(name="models/a"), request_id="r") == changed
    other = await models.create(Model(name="models/b"), request_id="r")
    assert other.name == "models/b", "a request id belongs to a name"


async def test_numbers_count_from_one_and_are_never_given_out_again(
    versions: Collection[ModelVersion],
) -> None:
    async def make(parent: str) -> str:
        return (await versions.create_numbered(parent, "versions", ModelVersion())).name

    assert await make("models/a") == "models/a/versions/1"
    assert await make("models/a") == "models/a/versions/2"
    assert await make("models/b") == "models/b/versions/1"
    await versions.delete("models/a/versions/2")
    assert await make("models/a") == "models/a/versions/3"
    assert await versions.delete_children("models/a") == 2
    assert await make("models/a") == "models/a/versions/4"


async def test_concurrent_creates_get_different_numbers(versions: Collection[ModelVersion]) -> None:
    made = await asyncio.gather(
        *(versions.create_numbered("models/a", "versions", ModelVersion()) for _ in range(25))
    )
    assert {version.name for version in made} == {f"models/a/versions/{n}" for n in range(1, 26)}


async def test_a_repeated_numbered_create_gives_the_same_number(versions: Collection[ModelVersion]) -> None:
    made = await asyncio.gather(
        *(
            versions.create_numbered("models/a", "versions", ModelVersion(), request_id=f"r{turn % 3}")
            for turn in range(12)
        )
    )
    assert {version.name for version in made} == {f"models/a/versions/{n}" for n in (1, 2, 3)}
    elsewhere = await versions.create_numbered("models/b", "versions", ModelVersion(), request_id="r0")
    assert elsewhere.name == "models/b/versions/1"


async def test_an_update_is_a_write_with_a_new_etag(models: Collection[Model]) -> None:
    made = await models.create(Model(name="models/a", labels={"x": "1"}))
    changed = await models.update("models/a", describe("new"), etag=made.etag)
    assert changed == await models.get("models/a")
    assert changed.description == "new"
    assert changed.etag != made.etag
    assert (changed.uid, changed.create_time) == (made.uid, made.create_time)
    assert changed.update_time.ToDatetime() > made.update_time.ToDatetime()


async def test_an_update_that_changes_nothing_writes_nothing(models: Collection[Model]) -> None:
    made = await models.create(Model(name="models/a", labels={"x": "1", "y": "2"}))
    before = await models.revision()
    assert await models.update("models/a", describe("")) == made
    assert await models.revision() == before


async def test_a_change_cannot_touch_what_the_store_sets(models: Collection[Model]) -> None:
    made = await models.create(Model(name="models/a"))

    def change(model: Model) -> None:
        model.name, model.uid, model.etag, model.description = "models/b", "u", "e", "new"
        model.create_time.Clear()

    changed = await models.update("models/a", change)
    assert (changed.name, changed.uid, changed.create_time) == (made.name, made.uid, made.create_time)
    assert changed.etag not in ("e", made.etag)


async def test_a_change_that_raises_leaves_all_as_it_was(models: Collection[Model]) -> None:
    made = await models.create(Model(name="models/a"))

    def change(model: Model) -> None:
        model.description = "half done"
        raise InvalidField("no")

    with pytest.raises(InvalidField):
        await models.update("models/a", change)
    assert await models.get("models/a") == made


async def test_an_old_etag_is_refused(models: Collection[Model]) -> None:
    made = await models.create(Model(name="models/a"))
    await models.update("models/a", describe("new"))
    with pytest.raises(EtagMismatch, match="models/a"):
        await models.update("models/a", describe("newer"), etag=made.etag)
    with pytest.raises(EtagMismatch, match="models/a"):
        await models.delete("models/a", etag=made.etag)
    await models.delete("models/a", etag=(await models.get("models/a")).etag)
    assert await models.find("models/a") is None


async def test_an_etag_does_not_come_back_with_the_name(models: Collection[Model]) -> None:
    made = await models.create(Model(name="models/a"))
    await models.delete("models/a")
    again = await models.create(Model(name="models/a"))
    assert again.etag != made.etag
    assert again.uid != made.uid


async def test_concurrent_updates_are_all_kept(models: Collection[Model]) -> None:
    await models.create(Model(name="models/a"))

    def append(model: Model) -> None:
        model.description += "x"

    await asyncio.gather(*(models.update("models/a", append) for _ in range(30)))
    assert (await models.get("models/a")).description == "x" * 30


async def test_a_cancelled_caller_leaves_the_store_working(models: Collection[Model]) -> None:
    await models.create(Model(name="models/a"))
    for delay in (0.0, 0.0005, 0.001, 0.002, 0.004):
        task = asyncio.create_task(models.update("models/a", describe(str(delay))))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
    await models.update("models/a", describe("last"))
    assert (await models.get("models/a")).description == "last"


async def test_a_put_always_writes(models: Collection[Model]) -> None:
    made = await models.put(Model(name="models/a", description="x", labels={"l": "1"}))
    again = await models.put(Model(name="models/a", description="x", labels={"l": "2"}))
    assert again.etag != made.etag
    assert (again.uid, again.create_time) == (made.uid, made.create_time)
    assert [model.name for model in (await models.list(labels={"l": "2"})).items] == ["models/a"]
    assert (await models.list(labels={"l": "1"})).items == ()


async def test_listings_go_by_name_with_numbers_by_value(versions: Collection[ModelVersion]) -> None:
    for _ in range(11):
        await versions.create_numbered("models/b", "versions", ModelVersion())
    await versions.create_numbered("models/a", "versions", ModelVersion())
    mine = [version.name for version in (await versions.list(parent="models/b")).items]
    assert mine == [f"models/b/versions/{n}" for n in range(1, 12)]
    newest = [version.name for version in (await versions.list(newest_first=True)).items]
    assert newest == ["models/a/versions/1", *reversed(mine)]
    assert [version.name async for version in versions.each()] == ["models/a/versions/1", *mine]


async def test_listings_filter_by_labels_and_by_index(models: Collection[Model]) -> None:
    for name, labels, description in (
        ("a", {"team": "x", "tier": "1"}, "active"),
        ("b", {"team": "x"}, "active"),
        ("c", {"team": "y", "tier": "1"}, "ended"),
        ("d", {}, "ended"),
    ):
        await models.create(Model(name=f"models/{name}", labels=labels, description=description))

    async def names(labels: dict[str, str], index: str | None = None) -> str:
        page = await models.list(labels=labels, index=index)
        return "".join(model.name[-1] for model in page.items)

    assert await names({}) == "abcd"
    assert await names({"team": "x"}) == "ab"
    assert await names({"team": "x", "tier": "1"}) == "a"
    assert await names({"tier": "1"}, "e") == "c"
    assert await names({}, "e") == "cd"
    assert await names({"team": ""}) == ""
    await models.update("models/a", describe("ended"))
    assert await names({}, "a") == "b"
    await models.update("models/d", lambda model: model.labels.update(team="x"))
    assert await names({"team": "x"}) == "abd"
    await models.delete("models/a")
    await models.create(Model(name="models/a"))
    assert await names({"team": "x"}) == "bd"


@pytest.mark.parametrize(
    "name",
    ["", "models", "models/", "/models/a", "models/a/versions", "models/..", "models/a b", "models/a\0"],
    ids=repr,
)
async def test_a_name_of_another_form_is_refused(models: Collection[Model], name: str) -> None:
    with pytest.raises(InvalidField):
        await models.create(Model(name=name))


async def test_a_nul_character_is_refused_by_name(models: Collection[Model]) -> None:
    for call in (
        models.create(Model(name="models/a", labels={"k": "\0"})),
        models.create(Model(name="models/a", labels={"\0": "v"})),
        models.create(Model(name="models/a"), request_id="\0"),
        models.list(labels={"k": "\0"}),
        models.get("models/\0"),
    ):
        with pytest.raises(InvalidField, match="NUL"):
            await call
    assert (await models.list()).items == ()


async def test_a_transaction_is_kept_whole_or_not_at_all(
    records: ResourceStore, models: Collection[Model], versions: Collection[ModelVersion]
) -> None:
    def add(transaction: Transaction) -> str:
        transaction.rows(models).create(Model(name="models/a"))
        return transaction.rows(versions).create_numbered("models/a", "versions", ModelVersion()).name

    def add_and_fail(transaction: Transaction) -> None:
        transaction.rows(models).delete("models/a")
        transaction.rows(versions).create_numbered("models/a", "versions", ModelVersion())
        transaction.rows(models).get("models/nope")

    assert await records.transaction(add, models, versions) == "models/a/versions/1"
    before = await models.revision(), await versions.revision()
    with pytest.raises(NotFound):
        await records.transaction(add_and_fail, versions, models)
    assert (await models.revision(), await versions.revision()) == before
    assert [version.name async for version in versions.each(parent="models/a")] == ["models/a/versions/1"]


async def test_transactions_over_crossed_collections_do_not_block_each_other(
    records: ResourceStore, models: Collection[Model], versions: Collection[ModelVersion], database_url: str
) -> None:
    other = await ResourceStore.open(database_url)

    def touch(transaction: Transaction) -> None:
        transaction.rows(models).put(Model(name="models/a"))
        transaction.rows(versions).create_numbered("models/a", "versions", ModelVersion())

    async with asyncio.timeout(30):
        await asyncio.gather(
            *(records.transaction(touch, models, versions) for _ in range(20)),
            *(other.transaction(touch, versions, models) for _ in range(20)),
        )
    await other.close()
    assert len((await versions.list()).items) == 40


async def test_a_snapshot_sees_one_moment(
    records: ResourceStore, models: Collection[Model], versions: Collection[ModelVersion]
) -> None:
    """A writer adds a model and a version together; no snapshot has one without the other."""

    def add(transaction: Transaction) -> None:
        version = transaction.rows(versions).create_numbered("models/a", "versions", ModelVersion())
        transaction.rows(models).put(Model(name="models/a", description=version.name))

    def count(transaction: Transaction) -> tuple[str, str]:
        model = transaction.rows(models).find("models/a")
        time.sleep(0.002)
        newest = transaction.rows(versions).list(newest_first=True, page_size=1).items
        return model.description if model else "", newest[0].name if newest else ""

    async def write() -> None:
        for _ in range(60):
            await records.transaction(add, models, versions)

    writer = asyncio.create_task(write())
    while not writer.done():
        named, newest = await records.snapshot(count)
        assert named == newest
    await writer
    assert await records.snapshot(count) == ("models/a/versions/60",) * 2


async def test_collections_of_one_type_are_kept_apart_by_kind(records: ResourceStore) -> None:
    one, two = records.collection(Model), records.collection(Model, kind="other")
    await one.create(Model(name="models/a"))
    assert await two.find("models/a") is None
    assert await two.revision() == 0
