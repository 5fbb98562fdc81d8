"""Copies of what services have stored, made while they run, and from which they can be started again.

    python -m lepton_common.backup database sqlite:////data/registry.db /backup/registry.db
    python -m lepton_common.backup objects s3://models/lepton file:///backup/objects

A backup is whole when nothing in it refers to what is not in it. Whatever refers to something was written
after it, so what refers is copied first: the databases of the services that call others (rl-agent,
compressor, trainer), then the registry's, then that of data-ingest, then the objects; among these the files
of jobs, whose outcomes name blobs, and then, listed anew, everything else. What is written meanwhile is in
the copy without being referred to, which does no harm: names of objects hold digests and uids, so nobody
comes upon it by chance. Only what is deleted meanwhile can be missing, so nothing should be.

PostgreSQL is copied by `pg_dump`, which sees one moment, in the place of `database`. The way back is the
same: databases are put into their places and objects are copied, in any order, before the services are
started.
"""

import argparse
import hashlib
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lepton_common.errors import FieldViolation, InvalidField, LeptonError, NotFound
from lepton_common.objects import ObjectInfo, ObjectStore

_THREADS = 8
_CONTENT = re.compile(r".+/(?:blobs|manifests)/([0-9a-f]{64})")
"""Keys that are the digest of what is there: see `manifests`."""
_JOBS = "jobs"
_LAUNCHED = re.compile(r"jobs/.+/launched")
"""Says that a job's workers were given to a cluster. Where a backup is restored there are none, which would
be taken for a user's having deleted them, and that cancels the job."""


@dataclass
class Copied:
    """What became of the objects of a store."""

    copied: int = 0
    """Written, or written anew where they may have changed."""
    known: int = 0
    """In the copy already."""
    damaged: list[str] = field(default_factory=list)
    """Keys whose bytes are not those that were once stored there; they are not copied."""


def copy_database(url: str, path: Path) -> None:
    """Copy a SQLite database, as it is at one moment, to a file that appears when it is whole.

    Raises:
        InvalidField: the URL is of another form, or there is no such database.
    """
    parts = urlsplit(url)
    source = Path("/", parts.path.strip("/"))
    if parts.scheme != "sqlite" or not source.is_file():
        raise InvalidField(
            "there is no SQLite database at this URL",
            violations=[
                FieldViolation("url", "must be sqlite:///absolute/path.db; pg_dump copies PostgreSQL")
            ],
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(draft)) as copy:
        database.backup(copy)
    draft.replace(path)


def copy_objects(source: ObjectStore, target: ObjectStore) -> Copied:
    """Copy the objects of a store into another one, from which nothing is deleted.

    Raises:
        DependencyUnavailable: a store does not answer; copying again goes on where this ended.
    """
    there = {info.key: info.size for info in target.list()}
    result = Copied()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(_THREADS) as threads:

        def copy(infos: Iterable[ObjectInfo]) -> None:
            wanted = [info for info in infos if not _is_known(info, there)]
            for key, whole in threads.map(lambda info: _copy(source, target, info, Path(scratch)), wanted):
                if whole:
                    result.copied += 1
                elif whole is False:
                    result.damaged.append(key)

        files = [info for info in source.list(_JOBS) if _is_file_of_a_job(info.key)]
        copy(info for info in files if not _LAUNCHED.fullmatch(info.key))
        rest = [info for info in source.list() if not _is_file_of_a_job(info.key)]
        copy(rest)
        result.known = sum(_is_known(info, there) for info in rest)
    return result


def _is_file_of_a_job(key: str) -> bool:
    return key.startswith(f"{_JOBS}/") and not _CONTENT.fullmatch(key)


def _is_known(info: ObjectInfo, there: dict[str, int]) -> bool:
    return _CONTENT.fullmatch(info.key) is not None and there.get(info.key) == info.size


def _copy(
    source: ObjectStore, target: ObjectStore, info: ObjectInfo, scratch: Path
) -> tuple[str, bool | None]:
    """Copy one object. Returns its key and whether it is whole; None if it was deleted meanwhile."""
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=scratch) as file:
        try:
            for chunk in source.stream(info.key):
                digest.update(chunk)
                file.write(chunk)
        except NotFound:
            return info.key, None
        file.flush()
        content = _CONTENT.fullmatch(info.key)
        if content is not None and content[1] != digest.hexdigest():
            return info.key, False
        target.put_file(info.key, Path(file.name))
    return info.key, True


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lepton_common.backup", description="Copy what services have stored."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    database = commands.add_parser("database", help="copy a SQLite database that may be in use")
    database.add_argument("url", help="sqlite:///absolute/path.db")
    database.add_argument("file", type=Path, help="where the copy is written")
    objects = commands.add_parser("objects", help="copy an object store; nothing is deleted from the copy")
    objects.add_argument("source", help="file:///folder or s3://bucket/prefix")
    objects.add_argument("target", help="the same")
    arguments = parser.parse_args()
    try:
        if arguments.command == "database":
            copy_database(arguments.url, arguments.file)
            return 0
        result = copy_objects(ObjectStore(arguments.source), ObjectStore(arguments.target))
    except LeptonError as error:
        details = "".join(f"; {each.field} {each.description}" for each in error.violations)
        sys.stderr.write(f"error: {error}{details}\n")
        return 1
    sys.stdout.write(f"{result.copied} objects copied, {result.known} known\n")
    for key in result.damaged:
        sys.stderr.write(f"error: {key} is damaged and was not copied\n")
    return 1 if result.damaged else 0


if __name__ == "__main__":
    sys.exit(main())
