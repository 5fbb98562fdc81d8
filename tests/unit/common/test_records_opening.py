"""Opening a store: from nothing, again, by many at once, and when it cannot be."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url, text

from lepton.model.v1.model_pb2 import Model
from lepton_common.errors import DependencyUnavailable, InvalidField, WrongState
from lepton_common.records import ResourceStore
from lepton_common.records.migrate import upgrade
from lepton_common.records.migrations import HEAD
from lepton_common.records.tables import METADATA

WRITER = """
import asyncio, sys
from lepton.model.v1.model_pb2 import Model
from lepton_common.records import ResourceStore

async def main(url, name):
    store = await ResourceStore.open(url)
    models = store.collection(Model)
    for turn in range(10):
        await models.create(Model(name=f"models/{name}-{turn}"))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_may_open_and_write_an_empty_database_at_once(
    database_url: str,
) -> None:
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, database_url, f"w{number}")
        for number in range(3)
    ]
    assert [await writer.wait() for writer in writers] == [0] * 3
    store = await ResourceStore.open(database_url)
    assert len((await store.collection(Model).list()).items) == 30
    assert await store.collection(Model).revision() == 30
    await store.close()


async def test_stores_of_one_process_may_open_an_empty_database_at_once(database_url: str) -> None:
    for store in await asyncio.gather(*(ResourceStore.open(database_url) for _ in range(6))):
        await store.close()


async def test_a_new_file_that_somebody_writes_into_is_waited_for(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opening = asyncio.create_task(ResourceStore.open(f"sqlite:///{tmp_path}/records.db"))
    await asyncio.wait({opening}, timeout=0.3)
    other.close()
    await (await opening).close()


async def test_what_was_written_is_there_after_opening_again(database_url: str) -> None:
    store = await ResourceStore.open(database_url)
    made = await store.collection(Model).create(Model(name="models/a"))
    await store.close()
    store = await ResourceStore.open(database_url)
    assert await store.collection(Model).get("models/a") == made
    await store.close()


def test_the_migrations_give_the_tables_that_the_code_uses(database_url: str) -> None:
    engine = create_engine(_sync(database_url))
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


async def test_a_database_made_by_the_migrations_is_opened_like_one_made_at_once(database_url: str) -> None:
    engine = create_engine(_sync(database_url))
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()
    store = await ResourceStore.open(database_url)
    made = await store.collection(Model).create(Model(name="models/a", labels={"k": "v"}))
    assert (await store.collection(Model).list(labels={"k": "v"})).items == (made,)
    await store.close()


def test_the_newest_migration_is_the_head() -> None:
    config = Config()
    config.set_main_option("script_location", "lepton_common.records:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_a_database_of_a_newer_release_is_refused(database_url: str) -> None:
    await (await ResourceStore.open(database_url)).close()
    engine = create_engine(_sync(database_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(WrongState, match="9999"):
        await ResourceStore.open(database_url)


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "sqlite://", "sqlite://relative.db", "sqlite:///", "mysql://host/x", "file:///x"],
    ids=repr,
)
async def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(InvalidField):
        await ResourceStore.open(url)


async def test_a_path_may_have_four_slashes_as_sqlalchemy_writes_it(tmp_path: Path) -> None:
    await (await ResourceStore.open(f"sqlite:///{tmp_path}/deep/er/records.db")).close()
    assert (tmp_path / "deep" / "er" / "records.db").exists()


async def test_a_server_that_does_not_answer_is_a_dependency_that_is_unavailable() -> None:
    with pytest.raises(DependencyUnavailable) as failure:
        await ResourceStore.open("postgresql://user:secret@127.0.0.1:9/none?connect_timeout=2")
    assert "secret" not in str(failure.value)


def _sync(url: str) -> str:
    parsed = make_url(url.replace("sqlite://", "sqlite:///"))
    driver = {"postgresql": "postgresql+psycopg"}.get(parsed.drivername, parsed.drivername)
    return parsed.set(drivername=driver).render_as_string(hide_password=False)
