"""Blobs and manifests are what their digests say, or an error."""

import hashlib
from pathlib import Path

import pytest

from lepton_common.errors import ChecksumMismatch, InvalidField, NotFound
from lepton_common.manifests import (
    Blob,
    fetch_blob,
    get_blob,
    get_manifest,
    put_blob,
    put_file,
    put_manifest,
)
from lepton_common.objects import ObjectInfo, ObjectStore

DATA = b"some bytes" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_a_blob_lies_under_its_digest(store: ObjectStore) -> None:
    blob = put_blob(store, "datasets/digits", DATA)
    assert blob == Blob(key=f"datasets/digits/blobs/{DIGEST}", sha256=DIGEST, size_bytes=len(DATA))
    assert get_blob(store, blob) == DATA


def test_the_same_bytes_are_kept_once_wherever_they_come_from(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    assert put_file(store, "p", path) == put_blob(store, "p", DATA) == put_file(store, "p", path)
    assert store.list("p") == [ObjectInfo(key=f"p/blobs/{DIGEST}", size=len(DATA))]


def test_a_large_file_travels_through_parts(store: ObjectStore, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(bytes(range(256)) * 50_000)
    fetch_blob(store, put_file(store, "p", source), copy)
    assert copy.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*") if path.is_file()) == ["copy", "source"]


@pytest.mark.parametrize(
    "damaged",
    [DATA[:-1], DATA + b"x", b"S" + DATA[1:], b""],
    ids=["cut short", "grown", "one byte changed", "empty"],
)
def test_damage_is_found_before_anyone_sees_the_bytes(
    store: ObjectStore, tmp_path: Path, damaged: bytes
) -> None:
    blob = put_blob(store, "p", DATA)
    store.put(blob.key, damaged)
    with pytest.raises(ChecksumMismatch, match=DIGEST):
        get_blob(store, blob)
    with pytest.raises(ChecksumMismatch) as failure:
        fetch_blob(store, blob, tmp_path / "copy")
    assert failure.value.metadata["expected_sha256"] == DIGEST
    assert [path for path in tmp_path.glob("*") if path.is_file()] == []


def test_a_lost_blob_is_not_found(store: ObjectStore, tmp_path: Path) -> None:
    blob = Blob(key="p/blobs/gone", sha256=DIGEST, size_bytes=1)
    with pytest.raises(NotFound):
        get_blob(store, blob)
    with pytest.raises(NotFound):
        fetch_blob(store, blob, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_equal_documents_have_equal_digests(store: ObjectStore) -> None:
    one = put_manifest(store, "p", {"b": [1, 2.5, None], "a": {"y": "é", "x": True}})
    two = put_manifest(store, "p", {"a": {"x": True, "y": "é"}, "b": [1, 2.5, None]})
    assert one == two
    assert one.key == f"p/manifests/{one.sha256}"
    assert store.get(one.key) == '{"a":{"x":true,"y":"é"},"b":[1,2.5,null]}'.encode()
    assert get_manifest(store, one) == get_manifest(store, one.key, sha256=one.sha256)


def test_a_manifest_of_another_digest_is_refused(store: ObjectStore) -> None:
    blob = put_manifest(store, "p", {"a": 1})
    with pytest.raises(ChecksumMismatch):
        get_manifest(store, blob.key, sha256=DIGEST)
    store.put(blob.key, b'{"a":2}')
    with pytest.raises(ChecksumMismatch):
        get_manifest(store, blob)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_manifest_holds_no_number_that_json_lacks(store: ObjectStore, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        put_manifest(store, "p", {"a": value})
    assert store.list() == []


def test_a_prefix_that_escapes_is_refused(store: ObjectStore) -> None:
    with pytest.raises(InvalidField):
        put_blob(store, "../elsewhere", DATA)
