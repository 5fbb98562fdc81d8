"""Records are divided by their content alone."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_common.errors import InvalidField
from lepton_data_ingest.fractions import Fractions
from lepton_data_ingest.split import Division, content_hashes
from lepton_learn.manifest import Split


def columns(records: int) -> dict[str, NDArray[Any]]:
    """Records of every dtype."""
    random = np.random.default_rng(0)
    return {
        "image": random.integers(0, 256, (records, 4, 4, 1), np.uint8),
        "number": random.random(records, np.float32),
        "word": np.array([f"w{number % 7}" for number in range(records)], object),
        "label": random.integers(0, 10, records),
    }


def test_the_shares_are_met() -> None:
    masks = Division(Fractions(0.2, 0.1, 5), fixed=()).assign(columns(20_000))
    shares = {split: mask.mean() for split, mask in masks.items()}
    assert shares[Split.TRAIN] == pytest.approx(0.7, abs=0.015)
    assert shares[Split.VALIDATION] == pytest.approx(0.2, abs=0.015)
    assert shares[Split.TEST] == pytest.approx(0.1, abs=0.015)
    assert (np.sum(list(masks.values()), axis=0) == 1).all()


def test_a_duplicate_is_on_the_side_of_its_original() -> None:
    once = columns(500)
    twice = {name: np.concatenate([values, values[::-1]]) for name, values in once.items()}
    for mask in Division(Fractions(), fixed=()).assign(twice).values():
        np.testing.assert_array_equal(mask[:500], mask[500:][::-1])


def test_order_company_and_column_order_do_not_matter() -> None:
    whole = columns(1000)
    hashes = content_hashes(whole, salt=b"x")
    part = {name: whole[name][::-3] for name in reversed(whole)}
    np.testing.assert_array_equal(content_hashes(part, salt=b"x"), hashes[::-3])
    assert len(set(hashes.tolist())) == 1000


def test_minus_zero_is_zero() -> None:
    zeros = np.array([0.0, -0.0], np.float32)
    assert len(set(content_hashes({"x": zeros}, salt=b"").tolist())) == 1


def test_another_seed_divides_otherwise() -> None:
    first = Division(Fractions(seed=1), fixed=()).assign(columns(1000))[Split.TEST]
    second = Division(Fractions(seed=-1), fixed=()).assign(columns(1000))[Split.TEST]
    assert 0 < (first & second).sum() < min(first.sum(), second.sum())


def test_a_larger_test_share_keeps_the_smaller_ones_records() -> None:
    small = Division(Fractions(0, 0.1), fixed=()).assign(columns(1000))[Split.TEST]
    large = Division(Fractions(0, 0.3), fixed=()).assign(columns(1000))[Split.TEST]
    assert small.sum() < large.sum()
    assert large[small].all()


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        ({Split.TEST}, {Split.TRAIN: 0.9, Split.VALIDATION: 0.1, Split.TEST: 0}),
        ({Split.TEST, Split.VALIDATION}, {Split.TRAIN: 1, Split.VALIDATION: 0, Split.TEST: 0}),
        ({Split.TRAIN}, {Split.TRAIN: 0, Split.VALIDATION: 1 / 3, Split.TEST: 2 / 3}),
        ({Split.TRAIN, Split.TEST}, {Split.TRAIN: 0, Split.VALIDATION: 1, Split.TEST: 0}),
    ],
    ids=["test", "test-and-validation", "train", "train-and-test"],
)
def test_records_go_only_into_splits_that_no_source_fixes(
    fixed: set[Split], expected: dict[Split, float]
) -> None:
    masks = Division(Fractions(0.1, 0.2), fixed=fixed).assign(columns(5000))
    assert {split: mask.mean() for split, mask in masks.items()} == pytest.approx(expected, abs=0.03)


def test_a_fixed_split_takes_all_records_of_its_source() -> None:
    masks = Division(Fractions(), fixed={Split.TEST}).assign(columns(10), fixed=Split.TEST)
    assert {split: mask.sum() for split, mask in masks.items()} == {
        Split.TRAIN: 0,
        Split.VALIDATION: 0,
        Split.TEST: 10,
    }


def test_records_without_a_split_need_one_that_is_left() -> None:
    with pytest.raises(InvalidField, match="sources fix every split"):
        Division(Fractions(), fixed=set(Split)).assign(columns(10))


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.9, 0.2)])
def test_something_must_be_left_for_training(validation: float, test: float) -> None:
    with pytest.raises(InvalidField, match="their sum must be below 1"):
        Fractions(validation, test).check()


def test_fractions_are_read_from_json() -> None:
    assert Fractions.from_json(None) == Fractions(0.1, 0.1, 0)
    assert Fractions.from_json({}) == Fractions(0, 0, 0)
    assert Fractions.from_json({"validation": 0.2, "seed": "-7"}) == Fractions(0.2, 0, -7)
