"""The folder and the S3-compatible server behave the same: every test runs against both."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lepton_common.errors import DependencyUnavailable, InvalidField, LeptonError, NotFound
from lepton_common.keys import check_key
from lepton_common.objects import ObjectInfo, ObjectStore


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 40_000], ids=["empty", "small", "10 MB"])
def test_an_object_reads_back_as_it_was_written(store: ObjectStore, data: bytes) -> None:
    assert store.put("a/b", data)
    assert store.get("a/b") == data
    assert b"".join(store.stream("a/b")) == data
    assert store.stat("a/b") == ObjectInfo(key="a/b", size=len(data))


def test_a_file_reads_back_as_it_was_written(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(251)) * 100_000)
    store.put_file("a/file", path)
    assert store.get("a/file") == path.read_bytes()


def test_a_put_replaces_unless_it_must_be_the_first(store: ObjectStore) -> None:
    assert store.put("a", b"1", if_absent=True)
    assert not store.put("a", b"2", if_absent=True)
    assert store.get("a") == b"1"
    assert store.put("a", b"3")
    assert store.get("a") == b"3"


def test_a_copy_outlives_what_it_was_made_from(store: ObjectStore) -> None:
    store.put("a/source", b"bytes")
    store.put("b/target", b"other bytes, of another length")
    store.copy("a/source", "b/target")
    store.delete("a/source")
    assert store.get("b/target") == b"bytes"
    with pytest.raises(NotFound):
        store.copy("a/source", "b/target")
    assert store.get("b/target") == b"bytes"


def test_one_of_many_racing_first_writers_wins(store: ObjectStore) -> None:
    start = threading.Barrier(8)

    def write(writer: int) -> bool:
        start.wait()
        return store.put("raced", str(writer).encode(), if_absent=True)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert store.get("raced") == str(won.index(True)).encode()


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 4, b"0123"), (8, 2, b"89"), (8, 100, b"89"), (3, 0, b""), (10, 1, b""), (99, 5, b"")],
    ids=["head", "tail", "over the end", "nothing", "at the end", "past the end"],
)
def test_a_range_ends_where_the_object_ends(
    store: ObjectStore, start: int, length: int, expected: bytes
) -> None:
    store.put("digits", b"0123456789")
    assert store.get_range("digits", start, length) == expected


def test_a_missing_object_is_not_found(store: ObjectStore) -> None:
    assert store.stat("no/such") is None
    for read in (store.get, lambda key: list(store.stream(key)), lambda key: store.get_range(key, 0, 1)):
        with pytest.raises(NotFound, match="no/such"):
            read("no/such")


def test_a_folder_of_objects_is_no_object(store: ObjectStore) -> None:
    store.put("a/b", b"1")
    assert store.stat("a") is None
    with pytest.raises(NotFound):
        store.get("a")


def test_a_listing_is_sorted_and_goes_by_whole_segments(store: ObjectStore) -> None:
    for key in ("a/c", "a/b/z", "ab/x", "b", "a/b/.hidden"):
        store.put(key, key.encode())
    assert [info.key for info in store.list("a")] == ["a/b/.hidden", "a/b/z", "a/c"]
    assert [info.key for info in store.list()] == ["a/b/.hidden", "a/b/z", "a/c", "ab/x", "b"]
    assert store.list("a/b/z") == []
    assert store.list("nothing") == []


def test_a_listing_may_be_longer_than_a_page_of_s3(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    keys = [f"many/{number}" for number in range(8)]
    for key in keys:
        store.put(key, b"")
    assert [info.key for info in store.list("many")] == keys
    store.delete_prefix("many")
    assert store.list("many") == []


def test_deletes_are_idempotent_and_go_by_whole_segments(store: ObjectStore) -> None:
    for key in ("a/b/1", "a/b/2", "a/bc"):
        store.put(key, b"")
    store.delete("a/nothing")
    store.delete_prefix("a/b")
    store.delete_prefix("a/b")
    assert [info.key for info in store.list()] == ["a/bc"]
    store.delete("a/bc")
    store.delete("a/bc")
    assert store.list() == []


def test_writes_survive_deletes_in_the_same_folder(store: ObjectStore) -> None:
    def churn(worker: int) -> None:
        for turn in range(20):
            store.put(f"shared/deep/{worker}-{turn}", b"x")
            store.delete(f"shared/deep/{worker}-{turn}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert store.list("shared") == []


BAD_KEYS = [
    "",
    "/a",
    "a/",
    "a//b",
    "..",
    "a/../b",
    "./a",
    "a b",
    "a#1",
    "a\\b",
    "a\0b",
    "é",
    "a\n",
    "x" * 1001,
]


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
def test_a_key_that_could_escape_or_clash_is_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        store.put(key, b"x")
    assert refusal.value.violations[0].field == "key"
    for call in (store.get, store.stat, store.delete, store.delete_prefix):
        with pytest.raises(InvalidField):
            call(key)
    assert store.list() == []


@pytest.mark.parametrize("key", ["a", ".hidden", "...", "a/b=c/d@e+f-1.2_3", "x/" * 499 + "y"])
def test_an_ordinary_key_is_taken(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "url",
    ["", "folder", "file://relative/x", "file:folder", "s3:///key", "ftp://x/y", "s3://bucket?endpont=x"],
    ids=repr,
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(InvalidField):
        ObjectStore(url)


def test_a_killed_write_leaves_nothing_to_see_in_a_folder(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}")
    store.put("a/b", b"1")
    (tmp_path / "a" / "c#1").write_bytes(b"half")
    assert [info.key for info in store.list()] == ["a/b"]


def test_a_folder_with_a_space_in_its_name_works(tmp_path: Path) -> None:
    ObjectStore(f"file://{tmp_path}/my%20objects").put("a", b"1")
    assert (tmp_path / "my objects" / "a").read_bytes() == b"1"


def test_the_endpoint_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
) -> None:
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(
        Bucket="by-environment"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    store = ObjectStore("s3://by-environment")
    store.put("a", b"1")
    assert store.get("a") == b"1"


def test_a_store_that_does_not_answer_is_a_dependency_that_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    nowhere = ObjectStore(f"s3://no-such-bucket?endpoint={s3_endpoint}")
    with pytest.raises(DependencyUnavailable) as failure:
        nowhere.put("a", b"1")
    assert isinstance(failure.value, LeptonError)
    assert s3_endpoint not in str(failure.value)
