"""One database, SQLite or PostgreSQL, and the transactions on it.

SQLAlchemy runs in threads of this module's own: one that writes, a few that read. So the event
loop never waits for a disk, a transaction that has begun ends even when its caller is cancelled,
and the writers of one process queue up in memory rather than at the database's locks.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select, text, update
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from lepton_common.errors import DependencyUnavailable, FieldViolation, InvalidField
from lepton_common.records.changes import Changes
from lepton_common.records.locks import Locks
from lepton_common.records.migrate import migrate
from lepton_common.records.tables import COLLECTIONS

_READERS = 3
_LOCK_SECONDS = 10
"""How long a write waits for the writes of other processes."""
_LOOK_SECONDS = 0.02

T = TypeVar("T")


class Session:
    """One transaction: its connection, and the revisions that it took."""

    def __init__(self, connection: Connection) -> None:
        """Wrap a connection whose transaction has begun."""
        self.connection = connection
        self.taken: dict[str, int] = {}

    def lock(self, kinds: Sequence[str]) -> None:
        """Keep other writers out of these collections until the transaction ends.

        In the order of their names, so that two transactions never wait for each other.
        """
        rows = select(COLLECTIONS.c.kind).where(COLLECTIONS.c.kind.in_(kinds))
        locked = rows.order_by(COLLECTIONS.c.kind).with_for_update()
        if len(self.connection.scalars(locked).all()) < len(kinds):
            for kind in sorted(kinds):
                self._add(kind)
            self.connection.execute(locked)

    def next_revision(self, kind: str) -> int:
        """Take the next revision of a collection that is locked."""
        self.taken[kind] = self.connection.execute(
            update(COLLECTIONS)
            .where(COLLECTIONS.c.kind == kind)
            .values(revision=COLLECTIONS.c.revision + 1)
            .returning(COLLECTIONS.c.revision)
        ).scalar_one()
        return self.taken[kind]

    def _add(self, kind: str) -> None:
        # Another process may add the same row. Both databases know the clause; SQLAlchemy has no common form.
        row = text("INSERT INTO collections (kind, revision) VALUES (:kind, 0) ON CONFLICT DO NOTHING")
        self.connection.execute(row, {"kind": kind})


class Database:
    """An open database with up-to-date tables."""

    def __init__(self, engine: Engine) -> None:
        """Use `open`."""
        self._engine = engine
        self._snapshots = engine
        locking = None
        if engine.dialect.name == "postgresql":
            # SQLite's transactions always see one moment, PostgreSQL's only when asked.
            self._snapshots = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            locking = create_engine(engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._writer = ThreadPoolExecutor(1, "records-write")
        self._readers = ThreadPoolExecutor(_READERS, "records-read")
        self._changes: dict[str, Changes] = {}
        self._locks = Locks(locking, partial(self._run, self._readers))

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open the database at `url` and bring its tables up to date.

        Raises:
            InvalidField: The URL is of another form.
            DependencyUnavailable: The database does not answer.
            WrongState: A newer release has changed its tables.
        """
        database = cls(_engine(url))
        try:
            await database._run(database._writer, lambda: migrate(database._engine))
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Let what has begun end, and close all connections."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()

    async def read(self, body: Callable[[Session], T]) -> T:
        """Run `body` in a transaction that only reads, and sees one moment, in a thread."""

        def run() -> T:
            with self._snapshots.connect() as connection:
                return body(Session(connection))

        return await self._run(self._readers, run)

    async def write(self, body: Callable[[Session], T], kinds: Sequence[str]) -> T:
        """Run `body`, alone in these collections, in a transaction, in a thread.

        What it did is kept when it returns, and undone when it raises. Once begun it runs to its
        end, also when the caller is cancelled.
        """
        loop = asyncio.get_running_loop()

        def run() -> T:
            with self._engine.execution_options(lepton_writes=True).begin() as connection:
                session = Session(connection)
                session.lock(kinds)
                result = body(session)
            for kind, revision in session.taken.items():
                loop.call_soon_threadsafe(self._advance, kind, revision)
            return result

        return await self._run(self._writer, run)

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """Hold the lock `name`: on PostgreSQL among all processes, on SQLite among the calls of this one."""
        return self._locks.hold(name)

    async def revision(self, kind: str) -> int:
        """Return the revision of a collection: 0 before the first write."""
        query = select(COLLECTIONS.c.revision).where(COLLECTIONS.c.kind == kind)
        return await self.read(lambda session: session.connection.execute(query).scalar()) or 0

    def changes(self, kind: str) -> Changes:
        """Return what follows the revision of a collection."""
        return self._changes.setdefault(kind, Changes(lambda: self.revision(kind)))

    def _advance(self, kind: str, revision: int) -> None:
        self.changes(kind).advance(revision)

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        with _translated():
            return await asyncio.get_running_loop().run_in_executor(threads, call)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as exc:
        raise DependencyUnavailable("the database does not answer") from exc


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = URL.create("unknown")
    if parsed.drivername in ("postgresql", "postgres"):
        return _postgresql(parsed.set(drivername="postgresql+psycopg"))
    path = urlsplit(url).path.strip("/")
    if parsed.drivername == "sqlite" and path and not parsed.host:
        return _sqlite(Path("/", path))
    raise InvalidField(
        "the database's URL is not usable",
        violations=[
            FieldViolation(
                "database_url",
                "must be sqlite:///absolute/path.db or postgresql://user:password@host/database",
            )
        ],
    )


def _sqlite(path: Path) -> Engine:
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _LOCK_SECONDS, "check_same_thread": False},
        pool_size=_READERS + 1,
        max_overflow=0,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # The driver would begin transactions too late: `begin` does it.
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")  # A commit is on the disk before it is acknowledged.
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and asks for the write lock later can be refused half-way.
        writes = connection.get_execution_options().get("lepton_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer not wait for each other; written down in the file once and for all."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # Of several processes that open a new file at once SQLite refuses some without waiting.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _postgresql(url: URL) -> Engine:
    engine = create_engine(url, pool_size=_READERS + 1, max_overflow=0, pool_pre_ping=True)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # So a replica that hangs inside a transaction does not stop the others for long.
        connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
        connection.execute(f"SET idle_in_transaction_session_timeout = '{3 * _LOCK_SECONDS}s'")
        connection.commit()

    return engine
