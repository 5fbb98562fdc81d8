"""Bringing the tables of a database up to date."""

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, insert, inspect, select, text

from lepton_common.errors import WrongState
from lepton_common.records.migrations import HEAD
from lepton_common.records.tables import METADATA

_ADVISORY_LOCK = 0x6C6570746F6E
"""Held on PostgreSQL while migrating; "lepton" in ASCII."""

_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Where alembic keeps the revision of the tables."""


def migrate(engine: Engine) -> None:
    """Make the tables, or run the migrations that they lack; of several processes at once, one does.

    An empty database gets the tables as `tables.py` has them. So alembic, which takes half a second
    and 13 MB to import, is there only for a database that an older release has made.

    Raises:
        WrongState: A newer release has changed the tables.
    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.execution_options(lepton_writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        found = _revision(connection)
        if not found:
            METADATA.create_all(connection)
            _VERSION.create(connection)
            connection.execute(insert(_VERSION).values(version_num=HEAD))
        elif found != HEAD:
            upgrade(connection)


def upgrade(connection: Connection) -> None:
    """Run the migrations that the tables lack, in the transaction of `connection`.

    Raises:
        WrongState: A newer release has changed the tables.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "lepton_common.records:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as exc:
        raise WrongState(
            f"the database is at revision {_revision(connection)!r}, which this release does not know"
        ) from exc


def _revision(connection: Connection) -> str:
    """Return the revision of the tables; empty for none."""
    if not inspect(connection).has_table(_VERSION.name):
        return ""
    return connection.execute(select(_VERSION.c.version_num)).scalar() or ""
