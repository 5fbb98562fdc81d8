"""Scaling: `(x - offset) * scale`, with the two found in one pass over the records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_learn.schema import Column, ColumnType


@dataclass(frozen=True, eq=False)
class Affine:
    """`(x - offset) * scale`."""

    offset: NDArray[np.float64]
    """What is taken away: a scalar, or of the shape of one value (of one pixel's channels, for images)."""
    scale: NDArray[np.float64]
    """What is multiplied by; of the offset's shape."""
    exact: bool
    """Whether to compute in float64 before rounding to float32 (integers), or in float32."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that is computed in."""
        return np.dtype(np.float64 if self.exact else np.float32)

    @property
    def is_identity(self) -> bool:
        """Whether applying it changes nothing but the dtype."""
        return not self.offset.any() and bool((self.scale == 1).all())

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Scale raw values [n, ...] to float32 of the same shape."""
        x = values.astype(self.dtype, copy=False)
        if not self.is_identity:
            # Taking away nothing is skipped: images are mostly normalised, where it would double the work.
            x = x - self.offset.astype(self.dtype) if self.offset.any() else x
            x = x * self.scale.astype(self.dtype)
        return x.astype(np.float32, copy=False)

    def revert(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The inverse of `apply`, in float64."""
        return values.astype(np.float64) / self.scale + self.offset

    def to_dict(self) -> dict[str, Any]:
        """As JSON; the numbers keep every bit."""
        return {"offset": self.offset.tolist(), "scale": self.scale.tolist(), "exact": self.exact}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Affine":
        """The inverse of `to_dict`."""
        return cls(
            offset=np.asarray(document["offset"], np.float64),
            scale=np.asarray(document["scale"], np.float64),
            exact=document["exact"],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Affine) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.offset.tobytes(), self.scale.tobytes(), self.exact))


class Moments:
    """Count, mean, spread and range of a column, batch by batch.

    Of numbers and tensors element by element in float64, batches combined by the pairwise update of Chan,
    Golub and LeVeque (1979), which does not lose digits as the sum of squares does. Of images by channel over
    all pixels in exact integers.
    """

    def __init__(self, column: Column) -> None:
        self._is_image = column.type is ColumnType.IMAGE
        self._exact = column.type is ColumnType.INTEGER
        shape = column.shape[-1:] if self._is_image else column.shape
        self._count = 0
        # Moments of numbers are taken of their distance to the first record: of large numbers that lie close
        # together, as times do, the squares would lose the digits that differ.
        self._origin: NDArray[np.float64] | None = None
        self._mean: NDArray[np.float64] = np.zeros(shape)
        self._squares: NDArray[np.float64] = np.zeros(shape)
        self._minimum: NDArray[np.float64] = np.full(shape, np.inf)
        self._maximum: NDArray[np.float64] = np.full(shape, -np.inf)
        self._pixel_sums: NDArray[Any] = np.zeros((2, *shape), object)

    def add(self, values: NDArray[Any]) -> None:
        """Take in one batch [n, ...] of raw values."""
        if len(values) == 0:
            return
        if self._is_image:
            values = values.reshape(-1, values.shape[-1])
        self._minimum = np.minimum(self._minimum, values.min(axis=0))
        self._maximum = np.maximum(self._maximum, values.max(axis=0))
        if self._is_image:
            self._add_pixels(values)
        else:
            self._add_values(values.astype(np.float64))

    def _add_pixels(self, pixels: NDArray[Any]) -> None:
        histogram = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
        levels = np.arange(256)
        # Python's integers: a uint64 of squares would overflow at 2.8e14 pixels.
        self._pixel_sums += np.array(
            [(histogram * levels**power).sum(axis=1).tolist() for power in (1, 2)], object
        )
        self._count += len(pixels)
        total, total_of_squares = self._pixel_sums
        self._mean = (total / self._count).astype(np.float64)
        self._squares = ((total_of_squares * self._count - total * total) / self._count).astype(np.float64)

    def _add_values(self, values: NDArray[np.float64]) -> None:
        if self._origin is None:
            self._origin = values[0]
        values = values - self._origin
        mean = values.mean(axis=0)
        squares = ((values - mean) ** 2).sum(axis=0)
        count = self._count + len(values)
        shift = mean - self._mean
        self._mean = self._mean + shift * (len(values) / count)
        self._squares = self._squares + squares + shift**2 * (self._count * len(values) / count)
        self._count = count

    def standardize(self) -> Affine:
        """`(x - mean) / standard deviation`, the deviation of the records themselves (divided by n)."""
        mean = self._mean if self._origin is None else self._mean + self._origin
        return self._affine(mean, np.sqrt(self._squares / self._count))

    def normalize(self) -> Affine:
        """`(x - minimum) / (maximum - minimum)`."""
        return self._affine(self._minimum, self._maximum - self._minimum)

    def _affine(self, offset: NDArray[np.float64], spread: NDArray[np.float64]) -> Affine:
        # A spread that float32 cannot divide by is rounding noise: such a column counts as constant.
        constant = (self._minimum == self._maximum) | (spread < np.finfo(np.float32).tiny)
        return Affine(offset=offset, scale=1 / np.where(constant, 1.0, spread), exact=self._exact)
