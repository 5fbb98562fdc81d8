"""The store of a service's resources."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeVar

from lepton_common.records.collection import Collection
from lepton_common.records.database import Database, Session
from lepton_common.records.kind import Kind, M
from lepton_common.records.rows import Rows

T = TypeVar("T")


class Transaction:
    """Several collections at once: what is done through it is kept together, or not at all."""

    def __init__(self, session: Session) -> None:
        """Use `ResourceStore.transaction`."""
        self._session = session

    def rows(self, collection: Collection[M]) -> Rows[M]:
        """Return the resources of a collection, within this transaction."""
        return Rows(collection.kind, self._session)


class ResourceStore:
    """Resources by name, in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Use `open`."""
        self._database = database

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open the store at `sqlite:///absolute/path.db` or `postgresql://user:password@host/database`.

        An empty database gets its tables, an older one is brought up to date; any number of
        processes may open the same at once.

        Raises:
            InvalidField: The URL is of another form.
            DependencyUnavailable: The database does not answer.
            WrongState: A newer release has changed the tables.
        """
        return cls(await Database.open(url))

    async def close(self) -> None:
        """Let the transactions that have begun end, and close all connections."""
        await self._database.close()

    def collection(
        self, message: type[M], *, index: Callable[[M], str] | None = None, kind: str = ""
    ) -> Collection[M]:
        """Return the resources of a message type.

        Args:
            message: The type.
            index: Says for a resource under which word `list(index=...)` finds it.
            kind: Name of the collection in the tables; else the full name of the message.
        """
        return Collection(Kind(kind or message.DESCRIPTOR.full_name, message, index), self._database)

    async def transaction(self, body: Callable[[Transaction], T], *collections: Collection[Any]) -> T:
        """Run `body` alone in these collections, in a thread, and return what it returns.

        What it did is kept when it returns, and undone when it raises.
        """
        kinds = [collection.kind.name for collection in collections]
        return await self._database.write(lambda session: body(Transaction(session)), kinds)

    async def snapshot(self, body: Callable[[Transaction], T]) -> T:
        """Run `body`, which only reads, in a thread, and return what it returns.

        All that it reads, from any collection, is as it was at one moment.
        """
        return await self._database.read(lambda session: body(Transaction(session)))

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """Hold the lock `name`, for what no transaction can hold together.

        Of all calls that ask for the same name one at a time gets it: of all processes on PostgreSQL, of this
        process on SQLite, whose file belongs to one. A process that ends leaves none behind.

        Raises:
            DependencyUnavailable: The database does not answer.
        """
        return self._database.lock(name)
