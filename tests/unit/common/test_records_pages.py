"""Paging shows every resource once, whatever is made and deleted meanwhile."""

import asyncio
import tempfile
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.model.v1.model_pb2 import Model
from lepton_common.errors import InvalidField
from lepton_common.records import Collection, ResourceStore
from lepton_common.records.paging import Query

names = st.integers(min_value=0, max_value=60).map(lambda number: f"models/m{number}")


@settings(max_examples=25, deadline=None)
@given(
    before=st.sets(names, max_size=25),
    meanwhile=st.lists(st.tuples(st.sampled_from(["make", "delete"]), names), max_size=25),
    page_size=st.integers(min_value=1, max_value=7),
    newest_first=st.booleans(),
)
def test_what_is_there_all_along_is_seen_exactly_once(
    before: set[str], meanwhile: Sequence[tuple[str, str]], page_size: int, newest_first: bool
) -> None:
    async def page_through() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = await ResourceStore.open(f"sqlite://{folder}/records.db")
            models = store.collection(Model)
            for name in before:
                await models.create(Model(name=name))
            seen, touched, writes, token = [], set(), list(meanwhile), ""
            while True:
                page = await models.list(page_size=page_size, page_token=token, newest_first=newest_first)
                assert len(page.items) <= page_size
                seen += [model.name for model in page.items]
                token = page.next_page_token
                if not token:
                    break
                if writes:
                    verb, name = writes.pop()
                    touched.add(name)
                    there = await models.find(name) is not None
                    if verb == "delete" and there:
                        await models.delete(name)
                    if verb == "make" and not there:
                        await models.create(Model(name=name))
            await store.close()
        untouched = [name for name in seen if name not in touched]
        assert sorted(untouched) == sorted(before - touched)
        if not newest_first:
            assert seen == sorted(set(seen))

    asyncio.run(page_through())


@pytest.fixture
async def models(records: ResourceStore) -> Collection[Model]:
    models = records.collection(Model, index=lambda model: "x")
    for number in range(7):
        await models.create(Model(name=f"models/m{number}", labels={"k": "v"}))
    return models


@pytest.mark.parametrize("newest_first", [False, True], ids=["by name", "newest first"])
async def test_pages_add_up_to_the_whole(models: Collection[Model], newest_first: bool) -> None:
    seen, token = [], ""
    for expected in (3, 3, 1):
        page = await models.list(
            page_size=3, page_token=token, labels={"k": "v"}, index="x", newest_first=newest_first
        )
        assert len(page.items) == expected
        seen += [model.name for model in page.items]
        token = page.next_page_token
    assert token == ""
    assert seen == sorted(seen, reverse=newest_first)
    assert len(set(seen)) == 7


async def test_a_full_last_page_has_no_token(models: Collection[Model]) -> None:
    assert (await models.list(page_size=7)).next_page_token == ""


async def test_a_page_may_have_another_size_than_the_last(models: Collection[Model]) -> None:
    token = (await models.list(page_size=2)).next_page_token
    assert len((await models.list(page_size=5, page_token=token)).items) == 5


async def test_the_size_of_a_page_is_bounded(models: Collection[Model]) -> None:
    assert len((await models.list(page_size=2_000_000_000)).items) == 7
    with pytest.raises(InvalidField, match="page_size"):
        await models.list(page_size=-1)


async def test_a_token_of_another_listing_is_refused(models: Collection[Model]) -> None:
    token = (await models.list(page_size=2)).next_page_token
    for other in (
        models.list(page_token=token, labels={"k": "v"}),
        models.list(page_token=token, newest_first=True),
        models.list(page_token=token, parent="models/a"),
        models.list(page_token=token, index="x"),
    ):
        with pytest.raises(InvalidField, match="page token"):
            await other


@settings(max_examples=200, deadline=None)
@given(token=st.text(min_size=1) | st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True))
def test_any_other_text_is_no_token(token: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        Query(kind="k", labels={}).place(token)
    assert refusal.value.violations[0].field == "page_token"
