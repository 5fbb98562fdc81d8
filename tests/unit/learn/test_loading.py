"""Where the records of a training lie changes nothing but the memory that they take."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_common.errors import Cancelled, ChecksumMismatch, SchemaViolation, TooLarge
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_learn.families import build_model
from lepton_learn.loading import Room, load_examples
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Manifest, Shard, Split, save_manifest
from lepton_learn.recipe import Architecture, Cnn, Convergence, Mlp, Recipe
from lepton_learn.rows import Layout
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.shards import write_shard
from lepton_learn.task import task_of
from lepton_learn.transform import FittedTransform

PLENTY = 1 << 30
FEW = 20_000
"""Bytes: less than the records of these datasets take."""


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path}/store")


@pytest.fixture
def room(tmp_path: Path) -> Callable[[int], Room]:
    """Makes room with so much memory, and an empty folder."""
    (tmp_path / "scratch").mkdir()
    return lambda memory_bytes: Room(memory_bytes=memory_bytes, directory=tmp_path / "scratch")


def stored(store: ObjectStore, dataset: Any, *, shard_records: int = 100) -> Manifest:
    """Write a dataset as a version."""
    label, splits = dataset.transform.schema.label, {}
    for split, records in dataset.raw.items():
        shards = []
        for start in range(0, len(records[label]), shard_records):
            part = {name: values[start : start + shard_records] for name, values in records.items()}
            shards.append(Shard(put_blob(store, "datasets/d", write_shard(part)), len(part[label])))
        splits[split] = tuple(shards)
    return Manifest(schema=dataset.transform.schema, splits=splits, transform=dataset.transform)


def column(name: str, kind: ColumnType, transform: Transform, shape: tuple[int, ...] = ()) -> Column:
    return Column(name=name, type=kind, transform=transform, shape=shape)


@pytest.fixture(scope="session")
def columns_of_all_types(digits: Any) -> Any:
    """The scanned digits with what can be told of them, in columns of every type and transform."""
    schema = Schema(
        (
            column("image", ColumnType.IMAGE, Transform.NORMALIZE, (8, 8, 1)),
            column("rows", ColumnType.TENSOR, Transform.STANDARDIZE, (8,)),
            column("ink", ColumnType.INTEGER, Transform.STANDARDIZE),
            column("darkest", ColumnType.INTEGER, Transform.ONE_HOT),
            column("widest", ColumnType.INTEGER, Transform.INDEX),
            column("mean", ColumnType.NUMBER, Transform.NORMALIZE),
            column("half", ColumnType.CATEGORY, Transform.ONE_HOT),
            column("corner", ColumnType.CATEGORY, Transform.INDEX),
            column("digit", ColumnType.INTEGER, Transform.INDEX),
        ),
        "digit",
    )

    def described(records: Batch) -> Batch:
        pixels = records["image"][..., 0].astype(np.int64)
        halves = np.where(pixels[:, :4].sum((1, 2)) > pixels[:, 4:].sum((1, 2)), "upper", "lower")
        return {
            "image": records["image"],
            "rows": pixels.mean(axis=2).astype(np.float32),
            "ink": pixels.sum(axis=(1, 2)),
            "darkest": pixels.sum(axis=2).argmax(axis=1),
            "widest": (pixels > 0).sum(axis=2).argmax(axis=1),
            "mean": pixels.mean(axis=(1, 2)).astype(np.float32),
            "half": halves.astype(object),
            "corner": np.where(pixels[:, 0, 2] > 0, "inked", "blank").astype(object),
            "digit": records["digit"],
        }

    raw = {split: described(records) for split, records in digits.raw.items()}
    return type(digits)(FittedTransform.fit(schema, [raw[Split.TRAIN]]), raw)


@pytest.fixture(params=["image", "numbers", "quantity", "all types"])
def dataset(
    request: pytest.FixtureRequest,
    digits: Any,
    breast_cancer: Any,
    diabetes: Callable[[Transform], Any],
    columns_of_all_types: Any,
) -> Any:
    return {
        "image": digits,
        "numbers": breast_cancer,
        "quantity": diabetes(Transform.STANDARDIZE),
        "all types": columns_of_all_types,
    }[request.param]


def test_examples_are_the_same_wherever_they_lie(
    store: ObjectStore, room: Callable[[int], Room], dataset: Any
) -> None:
    manifest = stored(store, dataset)
    in_memory = load_examples(store, manifest, room=room(PLENTY))
    on_disk = load_examples(store, manifest, room=room(FEW))
    for split in Split:
        whole = dataset[split]
        places = np.random.default_rng(2).permutation(len(whole))
        for examples in (in_memory[split], on_disk[split]):
            assert examples.labels.dtype == whole.labels.dtype
            np.testing.assert_array_equal(examples.labels, whole.labels)
            assert examples.label_scale == whole.label_scale
            for mine, expected in zip(examples.take(places), whole.take(places), strict=True):
                assert mine.dtype == expected.dtype
                np.testing.assert_array_equal(mine, expected)


def test_inputs_are_the_transform_of_the_records(columns_of_all_types: Any) -> None:
    transform, raw = columns_of_all_types.transform, columns_of_all_types.raw[Split.TRAIN]
    expected = transform.inputs(raw)
    for transformed in (True, False):
        layout = Layout(transform, transformed)
        np.testing.assert_array_equal(layout.unpack(layout.pack(raw)), expected)
    assert Layout(transform, False).row_bytes < Layout(transform, True).row_bytes


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [("digits", Cnn(filters=(4,), dense_units=8)), ("columns_of_all_types", Mlp(hidden_units=(16,)))],
)
def test_a_training_from_disk_ends_with_the_weights_of_one_from_memory(
    request: pytest.FixtureRequest,
    store: ObjectStore,
    room: Callable[[int], Room],
    recorder: Any,
    kind: str,
    architecture: Architecture,
) -> None:
    manifest = stored(store, request.getfixturevalue(kind).first(300))
    recipe = Recipe(
        architecture=architecture, max_epochs=3, batch_size=32, convergence=Convergence(patience=0), seed=3
    )

    def weights(memory_bytes: int) -> Any:
        examples = load_examples(store, manifest, room=room(memory_bytes))
        seed_everything(recipe.seed)
        model = build_model(recipe.architecture, manifest.transform, label_scale=None)
        outcome = train(
            model,
            task_of(model, manifest.transform, label_scale=None),
            recipe=recipe,
            training=examples[Split.TRAIN],
            validation=examples[Split.VALIDATION],
            observer=recorder,
        )
        return model.get_weights(), outcome.history

    (one, curves), (other, other_curves) = weights(PLENTY), weights(FEW)
    assert curves == other_curves
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_shards_are_told_as_they_are_done(
    store: ObjectStore, room: Callable[[int], Room], digits: Any
) -> None:
    manifest, told = stored(store, digits), []
    load_examples(store, manifest, room=room(FEW), told=lambda *done: told.append(done))
    shards = sum(len(manifest.shards(split)) for split in Split)
    assert told == [(done, shards) for done in range(shards + 1)]


def test_only_the_splits_that_are_wanted_are_read(
    store: ObjectStore, room: Callable[[int], Room], digits: Any
) -> None:
    manifest, told = stored(store, digits), []
    loaded = load_examples(
        store,
        manifest,
        room=room(FEW),
        splits=(Split.TEST,),
        told=lambda *done: told.append(done),
    )
    assert {*loaded} == {Split.TEST}
    assert told[-1] == (len(manifest.shards(Split.TEST)),) * 2


@pytest.mark.parametrize("memory_bytes", [PLENTY, FEW])
def test_a_split_without_records_is_empty(
    store: ObjectStore, room: Callable[[int], Room], digits: Any, memory_bytes: int
) -> None:
    manifest = stored(store, digits)
    manifest = replace(manifest, splits={Split.TRAIN: manifest.shards(Split.TRAIN)})
    loaded = load_examples(store, manifest, room=room(memory_bytes))
    assert [len(loaded[split]) for split in (Split.VALIDATION, Split.TEST)] == [0, 0]
    assert len(loaded[Split.TRAIN]) == manifest.records(Split.TRAIN)


def test_one_who_is_asked_to_stop_stops(store: ObjectStore, room: Callable[[int], Room], digits: Any) -> None:
    told: list[int] = []
    with pytest.raises(Cancelled):
        load_examples(
            store,
            stored(store, digits, shard_records=20),
            room=room(1),
            told=lambda done, total: told.append(done),
            stop_requested=lambda: len(told) > 3,
        )
    assert told[-1] < 10


@pytest.mark.parametrize("memory_bytes", [PLENTY, FEW])
def test_what_is_wrong_with_a_shard_is_told(
    store: ObjectStore, room: Callable[[int], Room], digits: Any, memory_bytes: int
) -> None:
    manifest = stored(store, digits)
    shard = manifest.shards(Split.TRAIN)[-1]
    records = {"image": np.zeros((shard.records, 8, 8, 1), np.uint8), "digit": np.full(shard.records, 77)}
    other = Shard(put_blob(store, "datasets/d", write_shard(records)), shard.records)
    strange = replace(manifest, splits={**manifest.splits, Split.TEST: (other,)})
    with pytest.raises(SchemaViolation, match="77"):
        load_examples(store, strange, room=room(memory_bytes))
    store.put(shard.blob.key, b"0" * shard.blob.size_bytes)
    with pytest.raises(ChecksumMismatch):
        load_examples(store, manifest, room=room(memory_bytes))


def test_the_scratch_file_has_no_name_to_be_left_behind(
    store: ObjectStore, room: Callable[[int], Room], digits: Any
) -> None:
    examples = load_examples(store, stored(store, digits), room=room(FEW))
    assert len(examples[Split.TRAIN].take(np.arange(3))[0]) == 3
    assert os.listdir(room(FEW).directory) == []


def test_a_disk_without_room_for_the_records_is_told_before_any_is_read(
    store: ObjectStore, room: Callable[[int], Room], digits: Any
) -> None:
    manifest = stored(store, digits)
    (first, *_) = manifest.shards(Split.TRAIN)
    huge = replace(manifest, splits={Split.TRAIN: (replace(first, records=10**15),)})
    told: list[int] = []
    with pytest.raises(
        TooLarge, match=r"takes? 64000000000000000 bytes of the worker's local disk"
    ) as raised:
        load_examples(store, huge, room=room(FEW), told=lambda done, total: told.append(done))
    assert int(raised.value.metadata["free_bytes"]) < 64 * 10**15
    assert told == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may be longer: a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_is_told(store: ObjectStore, room: Callable[[int], Room], digits: Any) -> None:
    manifest = stored(store, digits)
    with largest_file(30_000), pytest.raises(TooLarge, match="local disk, which is full"):
        load_examples(store, manifest, room=room(FEW))


RECORDS, SIDE, BUDGET = 40_000, 64, 16 << 20
DATASET = RECORDS * SIDE * SIDE

PROGRAM = """
import json, sys
from pathlib import Path
from lepton_common.objects import ObjectStore
from lepton_learn.batches import Batches
from lepton_learn.loading import Room, load_examples
from lepton_learn.manifest import Split, load_manifest
from lepton_learn.reading import iterate

root, key, digest, memory = sys.argv[1:]
store = ObjectStore(f"file://{root}/store")
manifest = load_manifest(store, key, sha256=digest)

def memory_bytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) << 10

# What libraries load when they are first needed is not the records'.
next(iterate(store, manifest, Split.TRAIN, batch_size=1))
before = memory_bytes("VmRSS")
room = Room(memory_bytes=int(memory), directory=Path(root) / "scratch")
examples = load_examples(store, manifest, room=room)
batches = Batches(examples[Split.TRAIN], size=64, seed=1)
total = 0
for step in range(len(batches)):
    total += int(batches.block(0, range(step, step + 1)).labels.sum())
print(json.dumps([memory_bytes("VmHWM") - before, total]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells a process its memory there")
def test_the_memory_that_records_take_is_bounded(tmp_path: Path, store: ObjectStore, digits: Any) -> None:
    """A dataset of 160 MiB within 16: read, shuffled, batched."""
    small = digits.raw[Split.TRAIN]
    images = np.kron(small["image"][:1000], np.ones((1, 8, 8, 1), np.uint8))
    records = {"image": images, "digit": small["digit"][:1000]}
    schema = Schema(
        (
            column("image", ColumnType.IMAGE, Transform.NORMALIZE, (SIDE, SIDE, 1)),
            column("digit", ColumnType.INTEGER, Transform.INDEX),
        ),
        "digit",
    )
    # Shards of the same bytes are one object, however often they are read.
    shard = Shard(put_blob(store, "datasets/d", write_shard(records)), 1000)
    blob = save_manifest(
        store,
        "d",
        Manifest(
            schema=schema,
            splits={Split.TRAIN: (shard,) * (RECORDS // 1000)},
            transform=FittedTransform.fit(schema, [records]),
        ),
    )
    (tmp_path / "scratch").mkdir()

    def taken(memory_bytes: int) -> tuple[int, int]:
        arguments = [str(tmp_path), blob.key, blob.sha256, str(memory_bytes)]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, check=True, text=True
        )
        peak, total = map(int, done.stdout.strip("[]\n").split(","))
        return peak, total

    bounded, total = taken(BUDGET)
    unbounded, same_total = taken(PLENTY)
    assert total == same_total
    assert unbounded > DATASET, "otherwise this measures something else"
    # Beyond the budget: a shard in its four forms, a batch of float32 and what allocators keep.
    assert bounded < BUDGET + 48 * (1 << 20) < DATASET / 2
