"""A dataset version is read back whole, and nothing that was changed is read at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lepton_common.errors import ChecksumMismatch, MalformedFile, NotFound
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_learn.manifest import Manifest, Shard, SourceFile, Split, load_manifest, save_manifest
from lepton_learn.reading import iterate, read_columns, read_split
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.shards import write_shard
from lepton_learn.transform import FittedTransform

SCHEMA = Schema(
    (
        Column(name="photo", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(4, 4, 1)),
        Column(name="kind", type=ColumnType.CATEGORY, transform=Transform.INDEX),
    ),
    "kind",
)


def records(count: int) -> Batch:
    random = np.random.default_rng(1)
    return {
        "photo": random.integers(0, 256, (count, 4, 4, 1)).astype(np.uint8),
        "kind": np.array(["cat", "dog"] * count, object)[:count],
    }


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path}")


@pytest.fixture
def manifest(store: ObjectStore) -> Manifest:
    """A version of 25 training records in three shards and no others."""
    whole = records(25)
    shards = []
    for start in range(0, 25, 10):
        part = {name: values[start : start + 10] for name, values in whole.items()}
        shards.append(Shard(put_blob(store, "datasets/pets", write_shard(part)), len(part["kind"])))
    transform = FittedTransform.fit(SCHEMA, [whole])
    return Manifest(
        schema=SCHEMA,
        splits={Split.TRAIN: tuple(shards)},
        transform=transform,
        sources=(SourceFile("pets.tar", "0" * 64, 123),),
    )


def test_a_split_comes_back_in_order(store: ObjectStore, manifest: Manifest) -> None:
    read = read_split(store, manifest, Split.TRAIN)
    for name, values in records(25).items():
        assert read[name].dtype == values.dtype
        np.testing.assert_array_equal(read[name], values)


@pytest.mark.parametrize("split", Split)
def test_some_columns_are_those_of_the_split(store: ObjectStore, manifest: Manifest, split: Split) -> None:
    read = read_columns(store, manifest, split, ("kind",))
    whole = read_split(store, manifest, split)["kind"]
    assert {*read} == {"kind"}
    assert read["kind"].dtype == whole.dtype
    np.testing.assert_array_equal(read["kind"], whole)
    assert read_columns(store, manifest, split, ()) == {}


def test_a_split_without_records_has_columns_of_length_zero(store: ObjectStore, manifest: Manifest) -> None:
    read = read_split(store, manifest, Split.TEST)
    assert read["photo"].shape == (0, 4, 4, 1)
    assert list(iterate(store, manifest, Split.TEST, batch_size=4)) == []


def test_batches_add_up_to_the_split(store: ObjectStore, manifest: Manifest) -> None:
    batches = list(iterate(store, manifest, Split.TRAIN, batch_size=4))
    assert max(len(batch["kind"]) for batch in batches) == 4
    np.testing.assert_array_equal(np.concatenate([batch["photo"] for batch in batches]), records(25)["photo"])


def test_the_manifest_is_the_identity_of_the_content(store: ObjectStore, manifest: Manifest) -> None:
    blob = save_manifest(store, "pets", manifest)
    loaded = load_manifest(store, blob.key, sha256=blob.sha256)
    assert loaded == manifest or loaded.to_dict() == manifest.to_dict()
    assert save_manifest(store, "pets", loaded) == blob


def test_a_manifest_of_another_digest_is_refused(store: ObjectStore, manifest: Manifest) -> None:
    blob = save_manifest(store, "pets", manifest)
    with pytest.raises(ChecksumMismatch):
        load_manifest(store, blob.key, sha256="0" * 64)


def test_a_manifest_of_a_later_format_is_refused(manifest: Manifest) -> None:
    with pytest.raises(MalformedFile, match="format 99"):
        Manifest.from_dict({**manifest.to_dict(), "format": 99})


def test_a_shard_that_was_changed_is_refused(store: ObjectStore, manifest: Manifest) -> None:
    shard = manifest.shards(Split.TRAIN)[1]
    store.put(shard.blob.key, write_shard(records(10)))
    with pytest.raises(ChecksumMismatch):
        read_split(store, manifest, Split.TRAIN)


def test_a_shard_that_is_gone_is_not_found(store: ObjectStore, manifest: Manifest) -> None:
    store.delete(manifest.shards(Split.TRAIN)[2].blob.key)
    with pytest.raises(NotFound):
        read_split(store, manifest, Split.TRAIN)


@pytest.mark.parametrize("claimed", [9, 11], ids=["more records than told", "fewer records than told"])
def test_a_shard_of_another_length_is_malformed(store: ObjectStore, manifest: Manifest, claimed: int) -> None:
    first, *rest = manifest.shards(Split.TRAIN)
    wrong = replace(manifest, splits={Split.TRAIN: (replace(first, records=claimed), *rest)})
    with pytest.raises(MalformedFile):
        read_split(store, wrong, Split.TRAIN)
