"""Random changes to images."""

import numpy as np
import pytest
import tensorflow as tf

from lepton_learn.augmentation import change, changes
from lepton_learn.recipe import Augmentation

IMAGES = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        pytest.param([0, 0, 0], IMAGES[0], id="as it is"),
        pytest.param([1, 0, 0], IMAGES[0][:, ::-1], id="mirrored"),
        pytest.param([0, 1, 0], IMAGES[0][[0, 0, 1, 2]], id="down"),
        pytest.param([0, -2, 0], IMAGES[0][[2, 3, 3, 3]], id="up"),
        pytest.param([0, 0, 2], IMAGES[0][:, [0, 0, 0, 1, 2]], id="right"),
        pytest.param([1, -1, -1], IMAGES[0][[1, 2, 3, 3]][:, [3, 2, 1, 0, 0]], id="all"),
    ],
)
def test_an_image_is_changed_as_was_drawn(drawn: list[int], expected: np.ndarray) -> None:
    others = [[1, 3, 3], [0, -3, 1]]
    found = change(tf.constant(IMAGES), tf.constant([drawn, *others])).numpy()
    np.testing.assert_array_equal(found[0], expected)


def test_what_is_drawn_hangs_on_seed_and_step_alone() -> None:
    def drawn(seed: int, step: int) -> list[list[int]]:
        wanted = Augmentation(flip=True, shift=2)
        rows: list[list[int]] = (
            changes(wanted, records=64, seed=seed, step=tf.constant(step)).numpy().tolist()
        )
        return rows

    assert drawn(1, 5) == drawn(1, 5)
    assert len({str(drawn(seed, step)) for seed in (1, -2, 2**63 - 1) for step in (0, 1)}) == 6
    seen = np.array([row for step in range(40) for row in drawn(0, step)])
    assert set(seen[:, 0]) == {0, 1}
    assert set(seen[:, 1]) == set(seen[:, 2]) == {-2, -1, 0, 1, 2}
    assert 0.4 < seen[:, 0].mean() < 0.6
    assert abs(np.corrcoef(seen[:, 1], seen[:, 2])[0, 1]) < 0.1, "up and down says nothing of left and right"


def test_nothing_is_drawn_where_nothing_is_asked_for() -> None:
    assert not changes(Augmentation(), records=8, seed=3, step=tf.constant(1)).numpy().any()
