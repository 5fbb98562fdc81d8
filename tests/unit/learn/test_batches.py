"""Which records each step learns from."""

from typing import Any

import numpy as np
import pytest

from lepton_learn.batches import Batches, Feed, class_weights
from lepton_learn.manifest import Split


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, -(2**63)])
def test_every_record_is_in_an_epoch_once_and_every_epoch_has_its_own_order(digits: Any, seed: int) -> None:
    batches = Batches(digits[Split.TRAIN], size=64, seed=seed)
    epochs = []
    for epoch in (0, 1):
        block = batches.block(epoch, range(len(batches)))
        epochs.append(block.labels[block.weights > 0])
        assert block.counts.sum() == batches.records
        assert block.weights.sum(axis=1).tolist() == block.counts.tolist()
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(digits[Split.TRAIN].labels)
    assert epochs[0].tolist() != epochs[1].tolist()


@pytest.mark.parametrize(
    ("size", "multiple", "shape"), [(64, 1, 64), (64, 3, 66), (10**6, 1, 1439), (10**6, 2, 1440)]
)
def test_all_batches_have_one_shape(digits: Any, size: int, multiple: int, shape: int) -> None:
    batches = Batches(digits[Split.TRAIN], size=size, seed=0, multiple=multiple)
    block = batches.block(0, range(len(batches)))
    assert batches.size == shape
    assert block.inputs.shape == (len(batches), shape, 8, 8, 1)
    assert sorted(block.labels[block.weights > 0]) == sorted(digits[Split.TRAIN].labels)


def test_blocks_and_shares_are_parts_of_the_same_whole(digits: Any) -> None:
    batches = Batches(digits[Split.TRAIN], size=64, seed=3, multiple=2)
    whole = batches.block(1, range(len(batches)))
    parts = [
        [batches.block(1, steps, share=share) for share in (slice(0, 32), slice(32, 64))]
        for steps in (range(0, 5), range(5, len(batches)))
    ]
    for name in ("inputs", "labels", "weights"):
        joined = [np.concatenate([getattr(one, name) for one in row], axis=1) for row in parts]
        np.testing.assert_array_equal(np.concatenate(joined), getattr(whole, name))


def test_what_is_made_ready_beforehand_is_what_is_wanted(digits: Any) -> None:
    batches = Batches(digits[Split.TRAIN], size=64, seed=0)
    with Feed(batches, share=slice(None)) as feed:
        for wanted, then in (
            ((0, range(0, 2)), (0, range(2, 4))),
            ((0, range(2, 4)), (0, range(4, 6))),
            ((0, range(4, 5)), (1, range(0, 1))),
            ((1, range(0, 1)), None),
        ):
            block = feed.take(*wanted, then=then)
            np.testing.assert_array_equal(block.inputs, batches.block(*wanted).inputs)


def test_classes_weigh_what_the_recipe_says() -> None:
    labels = np.array([0, 0, 0, 1, 1, 3])
    names = ("a", "b", "c", "d")
    assert class_weights(labels, names, given={}, balanced=False) is None
    given = class_weights(labels, names, given={"b": 2.5}, balanced=False)
    assert given is not None
    assert given.tolist() == [1, 2.5, 1, 1]
    balanced = class_weights(labels, names, given={}, balanced=True)
    assert balanced is not None
    assert balanced.tolist() == [0.5, 0.75, 1.5, 1.5]
    assert balanced[labels].sum() == pytest.approx(4.5), "each of the three classes counts the same"


def test_a_record_counts_by_its_class(digits: Any) -> None:
    weights = np.arange(1, 11, dtype=np.float32)
    batches = Batches(digits[Split.TRAIN], size=1000, seed=0, class_weights=weights)
    last = batches.block(0, range(1, 2))
    assert last.counts.tolist() == [439]
    np.testing.assert_array_equal(last.weights[0, :439], last.labels[0, :439] + 1)
    assert not last.weights[0, 439:].any()
