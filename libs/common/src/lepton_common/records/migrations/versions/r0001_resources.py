"""The first tables: collections, numbers, resources and labels."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "collections",
        sa.Column("kind", _TEXT, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "numbers",
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("prefix", _TEXT, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "prefix"),
    )
    op.create_table(
        "resources",
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("parent", _TEXT, nullable=False),
        sa.Column("sort_key", _TEXT, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("indexed", _TEXT, nullable=False),
        sa.Column("request_id", _TEXT, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
    op.create_index("resources_by_name", "resources", ["kind", "sort_key"])
    op.create_index("resources_by_age", "resources", ["kind", "position"])
    op.create_index("resources_by_parent_and_name", "resources", ["kind", "parent", "sort_key"])
    op.create_index("resources_by_parent_and_age", "resources", ["kind", "parent", "position"])
    op.create_index("resources_by_index", "resources", ["kind", "indexed", "sort_key"])
    op.create_index("resources_by_request", "resources", ["kind", "parent", "request_id"])
    op.create_table(
        "labels",
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "key"),
        sa.ForeignKeyConstraint(["kind", "name"], ["resources.kind", "resources.name"], ondelete="CASCADE"),
    )
    op.create_index("labels_by_value", "labels", ["kind", "key", "value"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("labels", "resources", "numbers", "collections"):
        op.drop_table(table)
