"""Small datasets of every kind, and models trained on them, in an object store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from sklearn.datasets import load_diabetes, load_digits

from lepton_common.manifests import Blob, put_blob
from lepton_common.objects import ObjectStore
from lepton_learn.examples import Examples
from lepton_learn.manifest import Manifest, Shard, Split, save_manifest
from lepton_learn.recipe import Architecture, Recipe
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.shards import write_shard
from lepton_learn.transform import FittedTransform

Dataset: TypeAlias = tuple[Schema, Batch]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a compression is given: a trained model's files, and what it was trained on."""

    objects: ObjectStore
    files: Sequence[Mapping[str, Any]]
    manifest: Manifest
    test: Batch
    """The raw records of the test split."""

    def on(self, *splits: Split) -> "Source":
        """The same model on a dataset version that has these splits alone."""
        kept = {split: self.manifest.shards(split) for split in splits}
        return replace(self, manifest=replace(self.manifest, splits=kept))

    def with_model(self, data: bytes) -> "Source":
        """The same with other bytes for a model."""
        others = [file for file in self.files if file["path"] != "model.keras"]
        return replace(self, files=[*others, _stored(self.objects, "model.keras", data)])

    def save_manifest(self) -> dict[str, str]:
        """Write the manifest and return where it is."""
        blob = save_manifest(self.objects, "records", self.manifest)
        return {"key": blob.key, "sha256": blob.sha256}


class _Silent:
    """An observer of a training that nobody watches."""

    stop_requested = False

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None: ...

    def metric(self, name: str, step: int, value: float) -> None: ...

    def flush(self) -> None: ...


def train_source(
    objects: ObjectStore, dataset: Dataset, architecture: Architecture, *, epochs: int
) -> Source:
    """Train a model and store everything, as the dataset service and the trainer would."""
    from lepton_learn.artifact import artifact_files
    from lepton_learn.families import build_model
    from lepton_learn.loop import seed_everything, train
    from lepton_learn.task import task_of

    schema, records = dataset
    count = len(records[schema.label])
    order = np.random.default_rng(0).permutation(count)
    tenth = count // 10
    places = {
        Split.TRAIN: order[2 * tenth :],
        Split.VALIDATION: order[tenth : 2 * tenth],
        Split.TEST: order[:tenth],
    }
    raw = {split: {name: column[own] for name, column in records.items()} for split, own in places.items()}
    transform = FittedTransform.fit(schema, [raw[Split.TRAIN]])
    shards = {
        split: (Shard(put_blob(objects, "datasets/records", write_shard(batch)), len(places[split])),)
        for split, batch in raw.items()
    }
    seed_everything(0)
    training = Examples(transform, raw[Split.TRAIN])
    model = build_model(architecture, transform, label_scale=training.label_scale)
    outcome = train(
        model,
        task_of(model, transform, label_scale=training.label_scale),
        recipe=Recipe(architecture=architecture, max_epochs=epochs),
        training=training,
        validation=Examples(transform, raw[Split.VALIDATION]),
        observer=_Silent(),
    )
    files = artifact_files(model, transform, history=outcome.history)
    return Source(
        objects=objects,
        files=[_stored(objects, path, data) for path, data in files.items()],
        manifest=Manifest(schema=schema, splits=shards, transform=transform),
        test=raw[Split.TEST],
    )


def _stored(objects: ObjectStore, path: str, data: bytes) -> dict[str, Any]:
    blob: Blob = put_blob(objects, "models", data)
    return {"path": path, "sha256": blob.sha256, "size_bytes": blob.size_bytes, "key": blob.key}


def _number(name: str, transform: Transform = Transform.STANDARDIZE) -> Column:
    return Column(name=name, type=ColumnType.NUMBER, transform=transform)


def digits() -> Dataset:
    """1,797 scanned digits of 8x8 pixels in ten classes."""
    bunch = load_digits()
    columns = (
        Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(8, 8, 1)),
        Column(name="digit", type=ColumnType.INTEGER, transform=Transform.INDEX),
    )
    pixels = (bunch.images * 255 / 16).round().astype(np.uint8)[..., np.newaxis]
    return Schema(columns, "digit"), {"image": pixels, "digit": bunch.target.astype(np.int64)}


def customers() -> Dataset:
    """1,000 customers who stay or leave: texts, whole numbers beyond float32 and incomes beyond float16."""
    random, count = np.random.default_rng(0), 1000
    columns = (
        Column(name="city", type=ColumnType.CATEGORY, transform=Transform.ONE_HOT),
        Column(name="plan", type=ColumnType.CATEGORY, transform=Transform.INDEX),
        Column(name="children", type=ColumnType.INTEGER, transform=Transform.ONE_HOT),
        Column(name="since", type=ColumnType.INTEGER, transform=Transform.STANDARDIZE),
        _number("income"),
        Column(name="verdict", type=ColumnType.CATEGORY, transform=Transform.INDEX),
    )
    records: Batch = {
        "city": np.array(["Oslo", "Kraków", "São Paulo"], object)[random.integers(0, 3, count)],
        "plan": np.array(["basic", "family"], object)[random.integers(0, 2, count)],
        "children": random.integers(0, 4, count),
        "since": 1_700_000_000_000 + random.integers(-(10**9), 10**9, count),
        "income": random.normal(100_000, 20_000, count).astype(np.float32),
    }
    loyalty = (records["income"] - 100_000) / 20_000 + (records["city"] == "Oslo") + 0.5 * records["children"]
    records["verdict"] = np.where(loyalty > 1, "stays", "leaves").astype(object)
    return Schema(columns, "verdict"), records


def diabetes() -> Dataset:
    """442 patients of ten numbers, the course of their disease as a quantity of 25 to 346."""
    bunch = load_diabetes()
    columns = tuple(_number(name) for name in bunch.feature_names)
    records: Batch = {
        name: bunch.data[:, place].astype(np.float32) for place, name in enumerate(bunch.feature_names)
    }
    records["progression"] = bunch.target.astype(np.float32)
    return Schema((*columns, _number("progression", Transform.IDENTITY)), "progression"), records


def houses(*, area: Transform) -> Dataset:
    """1,000 houses: an area in square millimetres, and a price far beyond what float16 holds."""
    random = np.random.default_rng(0)
    square_metres = random.uniform(50, 200, 1000)
    records: Batch = {
        "area": (square_metres * 1e6).astype(np.float32),
        "price": (square_metres * 5e3 + random.normal(0, 2e4, 1000)).astype(np.float32),
    }
    return Schema((_number("area", area), _number("price", Transform.STANDARDIZE)), "price"), records
