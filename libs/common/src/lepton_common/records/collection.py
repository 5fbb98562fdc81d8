"""The resources of one message type."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Generic, TypeVar

from lepton_common.errors import NotFound
from lepton_common.records.database import Database, Session
from lepton_common.records.kind import Kind, M
from lepton_common.records.paging import MAX_PAGE_SIZE, Page
from lepton_common.records.rows import Rows

T = TypeVar("T")


class Collection(Generic[M]):
    """The resources of one message type, each call a transaction of its own.

    The calls are those of `Rows`, where their rules and errors stand, and what follows changes.
    """

    def __init__(self, kind: Kind[M], database: Database) -> None:
        """Use `ResourceStore.collection`."""
        self.kind = kind
        self._database = database

    async def find(self, name: str) -> M | None:
        """Return the resource of this name, or None."""
        return await self._read(lambda rows: rows.find(name))

    async def get(self, name: str) -> M:
        """Return the resource of this name, or raise NotFound."""
        return await self._read(lambda rows: rows.get(name))

    async def list(
        self,
        *,
        parent: str = "",
        page_size: int = 0,
        page_token: str = "",
        labels: Mapping[str, str] | None = None,
        index: str | None = None,
        newest_first: bool = False,
    ) -> Page[M]:
        """Return a page of resources."""
        return await self._read(
            lambda rows: rows.list(
                parent=parent,
                page_size=page_size,
                page_token=page_token,
                labels=labels,
                index=index,
                newest_first=newest_first,
            )
        )

    async def each(
        self, *, parent: str = "", labels: Mapping[str, str] | None = None, index: str | None = None
    ) -> AsyncIterator[M]:
        """Yield all resources that `list` would give, by name, a page at a time."""
        token = ""
        while True:
            page = await self.list(
                parent=parent, page_size=MAX_PAGE_SIZE, page_token=token, labels=labels, index=index
            )
            for resource in page.items:
                yield resource
            token = page.next_page_token
            if not token:
                return

    async def create(self, resource: M, *, request_id: str = "", uid: str = "") -> M:
        """Add a resource; AlreadyExists, unless the same request made it."""
        return await self._write(lambda rows: rows.create(resource, request_id=request_id, uid=uid))

    async def create_numbered(self, parent: str, segment: str, resource: M, *, request_id: str = "") -> M:
        """Add a resource as `{parent}/{segment}/{n}`, n counting from 1."""
        return await self._write(
            lambda rows: rows.create_numbered(parent, segment, resource, request_id=request_id)
        )

    async def put(self, resource: M) -> M:
        """Add a resource or replace the one of its name."""
        return await self._write(lambda rows: rows.put(resource))

    async def update(self, name: str, change: Callable[[M], None], *, etag: str = "") -> M:
        """Apply `change` to a resource; it runs in another thread, alone in the collection."""
        return await self._write(lambda rows: rows.update(name, change, etag=etag))

    async def delete(self, name: str, *, etag: str = "") -> None:
        """Remove a resource."""
        await self._write(lambda rows: rows.delete(name, etag=etag))

    async def delete_children(self, parent: str) -> int:
        """Remove the resources whose direct parent this is, and return how many there were."""
        return await self._write(lambda rows: rows.delete_children(parent))

    async def revision(self) -> int:
        """Return the collection's revision, which grows with every write; 0 before the first."""
        return await self._database.revision(self.kind.name)

    def changes(self) -> AsyncIterator[int]:
        """Yield the revision now, and again whenever it has grown; it never ends.

        A write of this process shows at once, one of another within 0.3 seconds.
        """
        return self._database.changes(self.kind.name).follow()

    async def watch(self, name: str) -> AsyncIterator[M]:
        """Yield a resource now, and again after it changed, skipping what came between.

        Raises:
            NotFound: There is none of this name (any more).
        """
        uid, etag = "", ""
        async for _ in self.changes():
            resource = await self.get(name)
            if uid and resource.uid != uid:
                raise NotFound(f"{name!r} was deleted, and made anew", metadata={"name": name})
            if resource.etag != etag:
                yield resource
            uid, etag = resource.uid, resource.etag

    async def _read(self, call: Callable[[Rows[M]], T]) -> T:
        return await self._database.read(lambda session: call(Rows(self.kind, session)))

    async def _write(self, call: Callable[[Rows[M]], T]) -> T:
        def body(session: Session) -> T:
            return call(Rows(self.kind, session))

        return await self._database.write(body, [self.kind.name])
