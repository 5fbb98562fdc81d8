"""The tables of the resource store, as the newest migration leaves them."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

# Names and sort keys compare by bytes everywhere, as SQLite does by itself: pages are cut by comparing.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")

METADATA = MetaData()

COLLECTIONS = Table(
    "collections",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
"""One row per collection: its revision. Whoever writes into the collection holds this row's lock."""

NUMBERS = Table(
    "numbers",
    METADATA,
    Column("kind", _TEXT, nullable=False),
    Column("prefix", _TEXT, nullable=False),
    Column("last", BigInteger, nullable=False),
    PrimaryKeyConstraint("kind", "prefix"),
)
"""The last number given out below a prefix; it outlives the resource that got it."""

RESOURCES = Table(
    "resources",
    METADATA,
    Column("kind", _TEXT, nullable=False),
    Column("name", _TEXT, nullable=False),
    Column("parent", _TEXT, nullable=False),
    Column("sort_key", _TEXT, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("indexed", _TEXT, nullable=False),
    Column("request_id", _TEXT, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("kind", "name"),
    Index("resources_by_name", "kind", "sort_key"),
    Index("resources_by_age", "kind", "position"),
    Index("resources_by_parent_and_name", "kind", "parent", "sort_key"),
    Index("resources_by_parent_and_age", "kind", "parent", "position"),
    Index("resources_by_index", "kind", "indexed", "sort_key"),
    Index("resources_by_request", "kind", "parent", "request_id"),
)
"""The resources. `content` is the whole message; the other columns repeat what queries need.

`sort_key` is the name with its numbers padded, so that version 10 comes after version 9;
`position` is the revision at which the resource was made, `revision` that of its last write.
"""

LABELS = Table(
    "labels",
    METADATA,
    Column("kind", _TEXT, nullable=False),
    Column("name", _TEXT, nullable=False),
    Column("key", _TEXT, nullable=False),
    Column("value", _TEXT, nullable=False),
    PrimaryKeyConstraint("kind", "name", "key"),
    ForeignKeyConstraint(["kind", "name"], ["resources.kind", "resources.name"], ondelete="CASCADE"),
    Index("labels_by_value", "kind", "key", "value"),
)
"""The labels of the resources, one row each, for filters."""
