"""The resources of one collection inside one transaction."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Generic

from sqlalchemy import Row, delete, exists, insert, select, update

from lepton_common.errors import AlreadyExists, EtagMismatch, FieldViolation, InvalidField, NotFound
from lepton_common.records.database import Session
from lepton_common.records.kind import Kind, M, Resource
from lepton_common.records.names import check_name, parent_of, sort_key
from lepton_common.records.paging import MAX_PAGE_SIZE, Page, Query, limit
from lepton_common.records.tables import LABELS, NUMBERS, RESOURCES


class Rows(Generic[M]):
    """The resources of one collection, as one transaction sees and changes them.

    Messages that come out are copies: changing one changes nothing here.
    """

    def __init__(self, kind: Kind[M], session: Session) -> None:
        """Work on `kind` through `session`, which must hold its lock for writes."""
        self._kind = kind
        self._session = session
        self._of_kind = RESOURCES.c.kind == kind.name

    def find(self, name: str) -> M | None:
        """Return the resource of this name, or None."""
        row = self._row(name)
        return None if row is None else self._parse(row.content)

    def get(self, name: str) -> M:
        """Return the resource of this name.

        Raises:
            NotFound: There is none.
        """
        found = self.find(name)
        if found is None:
            raise NotFound(f"{name!r} does not exist", metadata={"name": name})
        return found

    def list(
        self,
        *,
        parent: str = "",
        page_size: int = 0,
        page_token: str = "",
        labels: Mapping[str, str] | None = None,
        index: str | None = None,
        newest_first: bool = False,
    ) -> Page[M]:
        """Return a page of resources, by name (numbers by value) or the newest first.

        Args:
            parent: Name of the direct parent; empty for all.
            page_size: At most this many; 0 is 100, and 1000 is the most.
            page_token: From the last page of the same listing.
            labels: Only those that have all these labels.
            index: Only those of which the collection's index function says this.
            newest_first: In the order of making, backwards.

        Raises:
            InvalidField: The page token is not of this listing, or the size is negative.
        """
        wanted = limit(page_size)
        query = Query(
            kind=self._kind.name,
            parent=parent,
            labels=_checked(labels or {}),
            index=index,
            newest_first=newest_first,
        )
        order = RESOURCES.c.position if newest_first else RESOURCES.c.sort_key
        rows = select(RESOURCES.c.content, order.label("place")).where(self._of_kind)
        if parent:
            rows = rows.where(RESOURCES.c.parent == parent)
        if index is not None:
            rows = rows.where(RESOURCES.c.indexed == index)
        for key, value in query.labels.items():
            rows = rows.where(
                exists().where(
                    LABELS.c.kind == RESOURCES.c.kind,
                    LABELS.c.name == RESOURCES.c.name,
                    LABELS.c.key == key,
                    LABELS.c.value == value,
                )
            )
        if page_token:
            place = query.place(page_token)
            rows = rows.where(order < int(place) if newest_first else order > place)
        rows = rows.order_by(order.desc() if newest_first else order).limit(wanted + 1)
        found = self._session.connection.execute(rows).all()
        items = tuple(self._parse(row.content) for row in found[:wanted])
        more = len(found) > wanted
        return Page(items=items, next_page_token=query.token(str(found[wanted - 1].place)) if more else "")

    def each(
        self, *, parent: str = "", labels: Mapping[str, str] | None = None, index: str | None = None
    ) -> Iterator[M]:
        """Yield all resources that `list` would give, by name."""
        token = ""
        while True:
            page = self.list(
                parent=parent, page_size=MAX_PAGE_SIZE, page_token=token, labels=labels, index=index
            )
            yield from page.items
            token = page.next_page_token
            if not token:
                return

    def create(self, resource: M, *, request_id: str = "", uid: str = "") -> M:
        """Add a resource, and return it as it is stored.

        With the request id that made it, an existing one is returned as it is now. Its uid is made up unless
        one is given, which must be unique over all time.

        Raises:
            AlreadyExists: There is one of this name, made by another request.
            InvalidField: Its name, a label or the request id cannot be stored.
        """
        name = check_name(resource.name)
        row = self._row(name)
        if row is None:
            return self._insert(resource, name, request_id, uid)
        if request_id and row.request_id == request_id:
            return self._parse(row.content)
        raise AlreadyExists(f"{name!r} exists already", metadata={"name": name})

    def create_numbered(self, parent: str, segment: str, resource: M, *, request_id: str = "") -> M:
        """Add a resource as `{parent}/{segment}/{n}`, and return it as it is stored.

        n counts from 1 and is never given out twice, not even when its resource was deleted. With
        the request id that made it, an existing one is returned as it is now.

        Raises:
            InvalidField: The name, a label or the request id cannot be stored.
        """
        if request_id:
            earlier = select(RESOURCES.c.content, RESOURCES.c.name).where(
                self._of_kind, RESOURCES.c.parent == parent, RESOURCES.c.request_id == _text(request_id)
            )
            for row in self._session.connection.execute(earlier):
                if row.name.startswith(f"{parent}/{segment}/"):
                    return self._parse(row.content)
        number = self._next_number(f"{parent}/{segment}")
        return self._insert(resource, check_name(f"{parent}/{segment}/{number}"), request_id)

    def put(self, resource: M) -> M:
        """Add a resource or replace the one of its name, and return it as it is stored.

        Always a write, also when nothing changed: `update_time` says when it was last put.

        Raises:
            InvalidField: Its name or a label cannot be stored.
        """
        old = self.find(check_name(resource.name))
        return self._insert(resource, resource.name, "") if old is None else self._replace(old, resource)

    def update(self, name: str, change: Callable[[M], None], *, etag: str = "") -> M:
        """Apply `change` to a resource, and return it as it is stored.

        What the store sets cannot be changed. When nothing changed, nothing is written. An error
        that `change` raises comes out, and nothing is written.

        Raises:
            NotFound: There is none of this name.
            EtagMismatch: `etag` is given, and it has another.
        """
        old = self.get(name)
        check_etag(old, etag)
        new = self._copy(old)
        change(new)
        _keep(old, new)
        same = new.SerializeToString(deterministic=True) == old.SerializeToString(deterministic=True)
        return old if same else self._replace(old, new)

    def delete(self, name: str, *, etag: str = "") -> None:
        """Remove a resource.

        Raises:
            NotFound: There is none of this name.
            EtagMismatch: `etag` is given, and it has another.
        """
        check_etag(self.get(name), etag)
        self._session.next_revision(self._kind.name)
        self._session.connection.execute(delete(RESOURCES).where(self._of_kind, RESOURCES.c.name == name))

    def delete_children(self, parent: str) -> int:
        """Remove the resources whose direct parent this is, and return how many there were."""
        removed = self._session.connection.execute(
            delete(RESOURCES).where(self._of_kind, RESOURCES.c.parent == parent)
        ).rowcount
        if removed:
            self._session.next_revision(self._kind.name)
        return removed

    def _row(self, name: str) -> Row[Any, Any] | None:
        columns = select(RESOURCES.c.content, RESOURCES.c.request_id)
        return self._session.connection.execute(
            columns.where(self._of_kind, RESOURCES.c.name == _text(name))
        ).one_or_none()

    def _next_number(self, prefix: str) -> int:
        mine = (NUMBERS.c.kind == self._kind.name, NUMBERS.c.prefix == prefix)
        connection = self._session.connection
        number = connection.execute(
            update(NUMBERS).where(*mine).values(last=NUMBERS.c.last + 1).returning(NUMBERS.c.last)
        ).scalar()
        if number is None:
            number = 1
            connection.execute(insert(NUMBERS).values(kind=self._kind.name, prefix=prefix, last=number))
        return number

    def _insert(self, resource: M, name: str, request_id: str, uid: str = "") -> M:
        new = self._copy(resource)
        revision = self._session.next_revision(self._kind.name)
        now = datetime.now(UTC)
        new.name, new.uid, new.etag = name, uid or str(uuid.uuid4()), _etag(revision)
        new.create_time.FromDatetime(now)
        new.update_time.FromDatetime(now)
        self._session.connection.execute(
            insert(RESOURCES).values(
                kind=self._kind.name,
                name=name,
                parent=parent_of(name),
                sort_key=sort_key(name),
                position=revision,
                revision=revision,
                indexed=self._indexed(new),
                request_id=_text(request_id),
                content=new.SerializeToString(deterministic=True),
            )
        )
        self._insert_labels(new)
        return new

    def _replace(self, old: M, resource: M) -> M:
        new = self._copy(resource)
        _keep(old, new)
        revision = self._session.next_revision(self._kind.name)
        new.etag = _etag(revision)
        new.update_time.FromDatetime(datetime.now(UTC))
        self._session.connection.execute(
            update(RESOURCES)
            .where(self._of_kind, RESOURCES.c.name == new.name)
            .values(
                revision=revision,
                indexed=self._indexed(new),
                content=new.SerializeToString(deterministic=True),
            )
        )
        if dict(old.labels) != dict(new.labels):
            self._session.connection.execute(
                delete(LABELS).where(LABELS.c.kind == self._kind.name, LABELS.c.name == new.name)
            )
            self._insert_labels(new)
        return new

    def _insert_labels(self, resource: M) -> None:
        labels = _checked(resource.labels)
        if labels:
            self._session.connection.execute(
                insert(LABELS),
                [
                    {"kind": self._kind.name, "name": resource.name, "key": key, "value": value}
                    for key, value in labels.items()
                ],
            )

    def _indexed(self, resource: M) -> str:
        return "" if self._kind.index is None else self._kind.index(resource)

    def _parse(self, content: bytes) -> M:
        resource = self._kind.message()
        resource.ParseFromString(content)
        return resource

    def _copy(self, resource: M) -> M:
        copy = self._kind.message()
        copy.CopyFrom(resource)
        return copy


def _etag(revision: int) -> str:
    return f"{revision:x}"


def check_etag(resource: Resource, etag: str) -> None:
    """Check that a resource still has the etag that a caller knows; an empty one goes with any.

    Raises:
        EtagMismatch: It has another.
    """
    if etag and etag != resource.etag:
        raise EtagMismatch(
            f"{resource.name!r} changed since it was read: read it again, then retry",
            metadata={"name": resource.name, "etag": resource.etag},
        )


def _keep(old: M, new: M) -> None:
    """Give `new` what the store sets, as `old` has it."""
    new.name, new.uid, new.etag = old.name, old.uid, old.etag
    new.create_time.CopyFrom(old.create_time)
    new.update_time.CopyFrom(old.update_time)


def _checked(labels: Mapping[str, str]) -> dict[str, str]:
    return {_text(key): _text(value) for key, value in labels.items()}


def _text(value: str) -> str:
    # The one character that PostgreSQL cannot hold.
    if "\0" in value:
        raise InvalidField(
            "a text holds a NUL character",
            violations=[FieldViolation("text", "names, labels and ids must not hold NUL characters")],
        )
    return value
