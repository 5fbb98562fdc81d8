"""Copies that are made of stores in use."""

import hashlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lepton_common.backup import copy_database, copy_objects
from lepton_common.errors import InvalidField
from lepton_common.manifests import put_blob, put_manifest
from lepton_common.objects import ObjectInfo, ObjectStore


class Watched(ObjectStore):
    """A folder in which something happens when an object is read for the first time."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.happens: Iterator[None] = iter(())
        self._one_at_a_time = threading.Lock()

    def stream(self, key: str) -> Iterator[bytes]:
        with self._one_at_a_time:
            next(self.happens, None)
        yield from super().stream(key)


@pytest.fixture
def source(tmp_path: Path) -> Watched:
    return Watched(f"file://{tmp_path}/source")


@pytest.fixture
def target(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path}/target")


def keys(store: ObjectStore) -> set[str]:
    return {info.key for info in store.list()}


def test_everything_is_copied_and_what_cannot_change_only_once(source: Watched, target: ObjectStore) -> None:
    blob = put_blob(source, "models", b"weights")
    put_manifest(source, "datasets/digits", {"splits": {}})
    source.put("datasets/digits/uploads/1/0000", b"part")
    source.put("jobs/1/attempts/1/progress.json", b"half")
    first = copy_objects(source, target)
    assert (first.copied, first.known, first.damaged) == (4, 0, [])

    source.put("jobs/1/attempts/1/progress.json", b"done")
    later = copy_objects(source, target)
    assert (later.copied, later.known) == (2, 2)
    assert keys(target) == keys(source)
    assert target.get("jobs/1/attempts/1/progress.json") == b"done"
    assert target.get(blob.key) == b"weights"


def test_what_an_outcome_names_is_in_the_copy_that_has_the_outcome(
    source: Watched, target: ObjectStore
) -> None:
    """Workers end while the copy is made: one before the first object is read, another one after it."""

    def ends(job: int) -> None:
        blob = put_blob(source, "models", f"weights of {job}".encode())
        source.put(f"jobs/{job}/attempts/1/outcome.json", blob.key.encode())

    def happens() -> Iterator[None]:
        ends(2)
        yield
        ends(3)
        yield

    ends(1)
    source.happens = happens()
    copy_objects(source, target)
    outcomes = [key for key in keys(target) if key.endswith("outcome.json")]
    assert "jobs/1/attempts/1/outcome.json" in outcomes
    for outcome in outcomes:
        assert target.stat(target.get(outcome).decode()) is not None


def test_where_workers_were_is_not_copied(source: Watched, target: ObjectStore) -> None:
    source.put("jobs/1/spec.json", b"{}")
    source.put("jobs/1/launched", b"")
    copy_objects(source, target)
    assert keys(target) == {"jobs/1/spec.json"}


def test_what_is_deleted_meanwhile_is_left_out(source: Watched, target: ObjectStore) -> None:
    blobs = [put_blob(source, "models", bytes([number])) for number in range(3)]

    def happens() -> Iterator[None]:
        for blob in blobs:
            source.delete(blob.key)
        yield

    source.happens = happens()
    result = copy_objects(source, target)
    assert (result.copied, result.damaged) == (0, [])


def test_a_damaged_object_is_told_and_not_taken_for_a_good_one(source: Watched, target: ObjectStore) -> None:
    good, bad = put_blob(source, "models", b"good"), put_blob(source, "models", b"bad")
    source.put(bad.key, b"worse")
    result = copy_objects(source, target)
    assert (result.copied, result.damaged) == (1, [bad.key])
    assert target.list() == [ObjectInfo(good.key, 4)]


def test_a_database_is_copied_while_it_is_written_to(tmp_path: Path) -> None:
    url, copy = f"sqlite:///{tmp_path}/records.db", tmp_path / "backup" / "records.db"
    with closing(sqlite3.connect(tmp_path / "records.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (n)")
        database.execute("INSERT INTO t VALUES (1)")
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO t VALUES (2)")
        copy_database(url, copy)
        database.execute("COMMIT")
    with closing(sqlite3.connect(copy)) as restored:
        assert restored.execute("SELECT n FROM t").fetchall() == [(1,)], "what was committed and nothing else"
        assert restored.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert [path.name for path in copy.parent.iterdir()] == ["records.db"]


@pytest.mark.parametrize("url", ["postgresql://localhost/registry", "sqlite:////nowhere/records.db", "x"])
def test_another_database_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidField):
        copy_database(url, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_the_command_says_what_it_did_and_ends_so(tmp_path: Path) -> None:
    source = ObjectStore(f"file://{tmp_path}/source")
    blob = put_blob(source, "models", b"weights")

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "lepton_common.backup", *words]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    stores = f"file://{tmp_path}/source", f"file://{tmp_path}/target"
    done = run("objects", *stores)
    assert (done.returncode, done.stdout) == (0, "1 objects copied, 0 known\n")

    digest = hashlib.sha256(b"other").hexdigest()
    source.put(f"models/blobs/{digest}", b"damaged")
    done = run("objects", *stores)
    assert (done.returncode, done.stdout) == (1, "0 objects copied, 1 known\n")
    assert f"models/blobs/{digest} is damaged" in done.stderr
    assert blob.key not in done.stderr

    done = run("database", "postgresql://localhost/registry", str(tmp_path / "copy"))
    assert (done.returncode, "pg_dump" in done.stderr) == (1, True)
