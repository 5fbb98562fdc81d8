"""Bringing the tables of a database up to date."""

from sqlalchemy import Connection, Engine, inspect, text

from lepton_common.errors import WrongState
from lepton_common.records.migrations import HEAD

_ADVISORY_LOCK = 0x6C6570746F6E
"""Held on PostgreSQL while migrating; "lepton" in ASCII."""


def migrate(engine: Engine) -> None:
    """Run the migrations that the database lacks; of several processes at once, one does.

    Raises:
        WrongState: A newer release has changed the tables.
    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.execution_options(lepton_writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    # Imported here: it takes half a second and 13 MB, and most starts find the tables up to date.
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
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""
