"""Decoding one image file into bytes of a shape, with a bound on what it may unpack to."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lepton_data_ingest.formats.records import MAX_RECORD_BYTES

_FORMATS = ("PNG", "JPEG", "BMP")
_CHANNELS = {"1": 1, "L": 1, "RGB": 3, "RGBA": 4}
# Modes that are read as another one, which holds all that they hold.
_CONVERTED = {"1": "L", "P": "RGB", "LA": "RGBA", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    UnidentifiedImageError,
)
# What Pillow itself finds too large, before anything is unpacked.
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_MOST_PIXELS = "expected at most 16 million pixels"


class UnusableImage(ValueError):
    """An image file that does not become a value; its text says why, to follow the name of the record."""


def decode(data: bytes, shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG or BMP file.

    Args:
        data: the file.
        shape: the [height, width, channels] it must have; None for its own. A grey image fits three channels:
            its values are repeated. Size is compared before anything is unpacked.

    Returns:
        uint8 [height, width, channels].

    Raises:
        UnusableImage: it is none of these, damaged, too large, or of another shape.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            found = (image.height, image.width, _CHANNELS.get(_CONVERTED.get(image.mode, image.mode), 0))
            if found[2] == 0:
                raise UnusableImage(f"the image has mode {image.mode}; expected 8 bits a channel")
            if found[0] * found[1] * 4 > MAX_RECORD_BYTES:
                raise UnusableImage(f"the image has {found[1]} x {found[0]} pixels; {_MOST_PIXELS}")
            mode = _target_mode(image.mode, found, shape or found)
            pixels = (image if image.mode == mode else image.convert(mode)).tobytes()
    except UnusableImage:
        raise
    except _BOMBS as error:
        raise UnusableImage(f"the image is far too large; {_MOST_PIXELS}") from error
    except _DAMAGE as error:
        raise UnusableImage("the image is damaged or none; expected PNG, JPEG or BMP") from error
    return np.frombuffer(pixels, np.uint8).reshape(shape or found)


def _target_mode(mode: str, found: tuple[int, ...], shape: tuple[int, ...]) -> str:
    if found == shape:
        return _CONVERTED.get(mode, mode)
    if found[:2] == shape[:2] and found[2] == 1 and shape[2] == 3:
        return "RGB"
    raise UnusableImage(f"the image has the shape {list(found)}; expected {list(shape)}")
