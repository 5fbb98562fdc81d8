"""The records that candidates are measured on, and how right answers to them are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_common.errors import SchemaViolation
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_compressor.worker.held_out import HeldOut, calibration_records, read_held_out
from lepton_learn.manifest import Manifest, Shard, Split
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.series import HISTORY, Series
from lepton_learn.shards import write_shard
from lepton_learn.transform import FittedTransform

FEATURES = (
    Column(name="age", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE),
    Column(name="visits", type=ColumnType.INTEGER, transform=Transform.STANDARDIZE),
    Column(name="city", type=ColumnType.CATEGORY, transform=Transform.ONE_HOT),
    Column(name="photo", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(2, 2, 1)),
    Column(name="signal", type=ColumnType.TENSOR, transform=Transform.IDENTITY, shape=(3,)),
)
VERDICT = Column(name="verdict", type=ColumnType.CATEGORY, transform=Transform.INDEX)
PRICE = Column(name="price", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE)


def scored(labels: list[float], *, classifies: bool) -> HeldOut:
    return HeldOut(batch={}, records={}, labels=np.array(labels), classifies=classifies)


def batch(first: int, count: int) -> Batch:
    """Records whose age counts up from `first`."""
    places = np.arange(first, first + count)
    return {
        "age": places.astype(np.float32),
        "visits": places.astype(np.int64),
        "city": np.array(["Oslo", "Kraków"], object)[places % 2],
        "photo": np.zeros((count, 2, 2, 1), np.uint8),
        "signal": np.zeros((count, 3), np.float32),
        "verdict": np.array(["leaves", "stays"], object)[places % 2],
        "price": 1000 * places.astype(np.float32),
    }


def version(store: ObjectStore, label: Column, splits: Mapping[Split, Batch]) -> Manifest:
    """A dataset version of these splits."""
    schema = Schema((*FEATURES, label), label.name)
    shards = {
        split: (Shard(put_blob(store, "datasets/people", write_shard(records)), len(records["age"])),)
        for split, records in splits.items()
    }
    return Manifest(schema=schema, splits=shards, transform=FittedTransform.fit(schema, [batch(0, 4)]))


@pytest.fixture
def store(tmp_path: Any) -> ObjectStore:
    """An empty object store."""
    return ObjectStore(f"file://{tmp_path}")


def test_the_score_of_classes_is_the_share_that_was_right() -> None:
    held_out = scored([0, 1, 2, 2], classifies=True)
    assert held_out.metric == "accuracy"
    answers = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert held_out.score(answers) == 0.75


@pytest.mark.parametrize(
    ("answers", "score"),
    [
        pytest.param([1, 2, 3, 6], 0.0, id="all right"),
        pytest.param([3, 3, 3, 3], -1.0, id="always the mean"),
        pytest.param([3, 4, 5, 8], -4 / 3.5, id="all two too high"),
    ],
)
def test_the_score_of_quantities_is_their_error_in_units_of_the_variance(
    answers: list[float], score: float
) -> None:
    held_out = scored([1, 2, 3, 6], classifies=False)
    assert held_out.metric == "negative_relative_error"
    assert held_out.score(np.array(answers, np.float32)[:, np.newaxis]) == pytest.approx(score)


def test_large_quantities_are_scored_without_losing_digits() -> None:
    labels = [1e8, 1e8 + 8, 1e8 + 16]
    answers: NDArray[np.float32] = np.array(labels, np.float32)[:, np.newaxis]
    assert scored(labels, classifies=False).score(answers) == 0.0


def test_quantities_that_do_not_vary_are_scored_by_the_bare_error() -> None:
    assert scored([5, 5], classifies=False).score(np.array([[6], [4]], np.float32)) == -1.0


def test_the_test_split_is_held_out(store: ObjectStore) -> None:
    splits = {Split.TRAIN: batch(0, 4), Split.VALIDATION: batch(10, 2), Split.TEST: batch(20, 3)}
    held_out = read_held_out(store, version(store, VERDICT, splits))
    assert held_out.batch["age"].tolist() == [20, 21, 22]
    assert held_out.labels.tolist() == [0, 1, 0]
    assert held_out.classifies


def test_without_a_test_split_the_validation_split_is(store: ObjectStore) -> None:
    splits = {Split.TRAIN: batch(0, 4), Split.VALIDATION: batch(10, 2)}
    assert read_held_out(store, version(store, VERDICT, splits)).batch["age"].tolist() == [10, 11]


def test_without_either_nothing_can_be_measured(store: ObjectStore) -> None:
    with pytest.raises(SchemaViolation, match="no held-out records"):
        read_held_out(store, version(store, VERDICT, {Split.TRAIN: batch(0, 4)}))


def test_quantities_stay_in_their_own_unit(store: ObjectStore) -> None:
    held_out = read_held_out(store, version(store, PRICE, {Split.TEST: batch(20, 2)}))
    assert not held_out.classifies
    assert held_out.labels.tolist() == [20_000, 21_000]


def test_records_have_the_types_and_shapes_of_the_models_inputs(store: ObjectStore) -> None:
    records = read_held_out(store, version(store, VERDICT, {Split.TEST: batch(20, 2)})).records
    assert {name: (values.dtype.name, values.shape) for name, values in records.items()} == {
        "age": ("float32", (2, 1)),
        "visits": ("int64", (2, 1)),
        "city": ("object", (2, 1)),
        "photo": ("uint8", (2, 2, 2, 1)),
        "signal": ("float32", (2, 3)),
    }


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        pytest.param(3, [0, 4, 9], id="fewer than there are"),
        pytest.param(99, [*range(10)], id="more than there are"),
    ],
)
def test_calibration_records_are_spread_over_the_training_split(
    count: int, chosen: list[int], store: ObjectStore
) -> None:
    manifest = version(store, VERDICT, {Split.TRAIN: batch(0, 10)})
    assert calibration_records(store, manifest, count)["age"].ravel().tolist() == chosen


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        pytest.param({Split.VALIDATION: batch(10, 2), Split.TEST: batch(20, 2)}, [10, 11], id="validation"),
        pytest.param({Split.TEST: batch(20, 2)}, [20, 21], id="test, without a validation split"),
    ],
)
def test_a_private_model_is_calibrated_on_what_it_has_not_learnt_from(
    splits: dict[Split, Batch], chosen: list[int], store: ObjectStore
) -> None:
    manifest = version(store, VERDICT, {Split.TRAIN: batch(0, 4), **splits})
    records = calibration_records(store, manifest, 9, splits=(Split.VALIDATION, Split.TEST))
    assert records["age"].ravel().tolist() == chosen


@pytest.mark.parametrize(
    ("median", "score"), [(4.0, 0.0), (2.0, -1.0), (3.0, -0.5)], ids=["right", "as repeated", "half"]
)
def test_forecasts_score_by_their_loss_beside_that_of_repeating(median: float, score: float) -> None:
    series = Series(channels=("y",), season=1, quantiles=(0.5,))
    held_out = HeldOut(
        batch={},
        records={HISTORY: np.array([[[1], [2]]], np.float32)},
        labels=np.array([[4, 4]], np.float32),
        classifies=False,
        series=series,
    )
    assert held_out.metric == "negative_relative_quantile_loss"
    assert held_out.score(np.full((1, 2, 1), median, np.float32)) == pytest.approx(score)
