"""The data of the demo."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from lepton_sdk.demo.data import digits


def test_the_digits_are_the_published_ones(tmp_path: Path) -> None:
    found, published = digits(tmp_path), load_digits()
    held_out = np.arange(len(published.images)) % 5 == 0
    grey = np.minimum(published.images * 16, 255).astype(np.uint8)[..., np.newaxis]
    with np.load(tmp_path / "digits-train.npz") as train:
        assert np.array_equal(train["image"], grey[~held_out])
        assert np.array_equal(train["label"], published.target[~held_out])
    assert np.array_equal(found.test_images, grey[held_out])
    assert np.array_equal(found.test_labels, published.target[held_out])
