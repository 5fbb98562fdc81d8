"""Real images for the demo: nothing is downloaded."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lepton_common.errors import MalformedFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIGITS = Path(__file__).with_name("digits.npz")
"""`image` uint8 [1797, 8, 8, 1] of 0..16 and `label` uint8 [1797]."""
TEST_SHARE = 5
"""Every fifth digit is held out."""

FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Images:
    """An image set with a part held out."""

    name: str
    description: str
    sources: dict[str, Path]
    """Files to bring, by the options that `lepton dataset push` takes before the colon."""
    test_images: NDArray[np.uint8]
    """[n, height, width, 1]"""
    test_labels: NDArray[np.int64]
    """[n]"""
    classes: tuple[str, ...]


def digits(folder: Path) -> Images:
    """1,797 handwritten digits of 8x8 grey levels (Alpaydin and Kaynak, Optical Recognition of Handwritten
    Digits, UCI 1998, CC BY 4.0), which lie beside this module, written as NPZ files below `folder`."""
    with np.load(DIGITS) as found:
        # Grey levels 0..16 become bytes, so that they look like any other image.
        images = np.minimum(found["image"].astype(np.int64) * 16, 255).astype(np.uint8)
        labels = found["label"].astype(np.int64)
    held_out = np.arange(len(images)) % TEST_SHARE == 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in (("train", ~held_out), ("test", held_out)):
        np.savez_compressed(folder / f"digits-{name}.npz", image=images[chosen], label=labels[chosen])
    return Images(
        name="digits",
        description="1,797 handwritten digits, 8x8 grey levels",
        sources={"": folder / "digits-train.npz", "test": folder / "digits-test.npz"},
        test_images=images[held_out],
        test_labels=labels[held_out],
        classes=tuple(map(str, range(10))),
    )


def fashion(folder: Path) -> Images:
    """Fashion-MNIST (Xiao et al., 2017): 70,000 images of clothing, 28x28 grey levels, from the four IDX
    files in `folder`, as Debian's package `dataset-fashion-mnist` installs them.

    Raises:
        MalformedFile: a file is missing or not IDX.
    """
    names = {
        "image": "train-images-idx3-ubyte.gz",
        "label": "train-labels-idx1-ubyte.gz",
        "test,image": "t10k-images-idx3-ubyte.gz",
        "test,label": "t10k-labels-idx1-ubyte.gz",
    }
    sources = {options: folder / name for options, name in names.items()}
    for path in sources.values():
        if not path.exists():
            raise MalformedFile(f"{path} is missing; `apt-get install dataset-fashion-mnist` brings it")
    return Images(
        name="fashion",
        description="70,000 images of clothing, 28x28 grey levels",
        sources=sources,
        test_images=_idx(sources["test,image"], header=16).reshape(-1, 28, 28, 1),
        test_labels=_idx(sources["test,label"], header=8).astype(np.int64),
        classes=FASHION_CLASSES,
    )


def _idx(path: Path, *, header: int) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=header)
    except (OSError, EOFError, ValueError, zlib.error) as wrong:
        raise MalformedFile(f"{path} is not IDX: {wrong}") from wrong
