"""Inputs of a model as they are typed: JSON, `.npy` files, images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_common.errors import InvalidField
from lepton_sdk.inference import DATATYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})


def read_tensor(value: str, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    """What was typed for an input, as an array.

    Args:
        value: JSON, the path of a .npy file, or the path of an image; for BYTES a text, or JSON texts.
        datatype: the input's, such as "FP32".
        shape: the input's, the batch first. The batch axis is added to a single record, and a last axis of 1
            to what is typed without it, as the values of a series.

    Raises:
        InvalidField: it cannot be read, or not be converted without loss.
    """
    if datatype != "BYTES" and datatype not in DATATYPES:
        raise InvalidField(f"the model takes {datatype}, which cannot be typed")
    array = _converted(_read(value, datatype, shape), datatype, value)
    if [*shape[1:]] == [1] and array.ndim < 2:
        return array.reshape(-1, 1)
    if [*shape[-1:]] == [1] and array.ndim == len(shape) - 2:
        array = array[..., None]
    return array[None] if array.ndim == len(shape) - 1 else array


def _read(value: str, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    import numpy as np

    if datatype == "BYTES" and not value.startswith(("[", '"')):
        # The text as it stands: what looks like the number 1.50 is another text as JSON.
        return np.array(value)
    path = Path(value)
    if path.suffix == ".npy":
        return _npy(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _image(path, shape[1:])
    try:
        return np.array(json.loads(value))
    except (ValueError, RecursionError) as wrong:
        raise InvalidField(f"{value!r:.80} is neither a file nor JSON of one shape: {wrong}") from wrong


def _npy(path: Path) -> NDArray[Any]:
    import numpy as np

    try:
        stored: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as wrong:
        raise InvalidField(f"{path} cannot be read as .npy: {wrong}") from wrong
    return stored


def _image(path: Path, shape: Sequence[int]) -> NDArray[Any]:
    """The pixels [height, width, channels] of an image, uint8."""
    import numpy as np
    from PIL import Image

    if len(shape) != 3:
        raise InvalidField(f"{path} is an image; the model takes records of shape {[*shape]}")
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if shape[-1] == 1 else "RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as wrong:
        raise InvalidField(f"{path} cannot be read as an image: {wrong}") from wrong
    return pixels.reshape(*pixels.shape[:2], -1)


def _converted(array: NDArray[Any], datatype: str, value: str) -> NDArray[Any]:
    import numpy as np

    if datatype == "BYTES":
        return array.astype(object)
    dtype = np.dtype(DATATYPES[datatype])
    if array.dtype.kind not in "biuf":
        raise InvalidField(f"{value!r:.80} is not made of numbers, which {datatype} is")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype)
    # 300 is no UINT8 and 1.5 no INT64. Rounding to a shorter float is what its users want.
    if dtype.kind != "f" and not np.array_equal(converted, array):
        raise InvalidField(f"{value!r:.80} has values that {datatype} does not have")
    return converted
