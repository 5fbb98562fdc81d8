"""What the values of each column are like, taken batch by batch over the training split."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import SchemaViolation
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform

MAX_FREQUENCIES = 1000
"""So many of the most frequent values are told."""

MAX_DISTINCT = 100_000
"""A column of categories, or of classes, has at most so many different values."""

_CODING = (Transform.ONE_HOT, Transform.INDEX)
_LEVELS = np.arange(256, dtype=np.float64)


@dataclass(frozen=True)
class ColumnStatistics:
    """One column, over the training split. Images and tensors over all their elements."""

    column: str
    """Its name."""
    count: int
    """Records with a value."""
    minimum: float = 0.0
    """Smallest value; 0 for categories, as the next three."""
    maximum: float = 0.0
    """Largest value."""
    mean: float = 0.0
    """Mean."""
    standard_deviation: float = 0.0
    """Standard deviation of the values themselves (divided by their number)."""
    frequencies: Mapping[str, int] = field(default_factory=dict)
    """How often each value occurs, for categories and integer labels."""


class Statistics:
    """Gathers the statistics of all columns."""

    def __init__(self, schema: Schema) -> None:
        self._gathering = {
            column.name: _Gathering(column, is_label=column.name == schema.label) for column in schema.columns
        }

    def add(self, batch: Batch) -> None:
        """Take in some training records: raw arrays of n > 0 records.

        Raises:
            SchemaViolation: a column of categories has too many different values.
        """
        for name, gathering in self._gathering.items():
            gathering.add(batch[name])

    def columns(self) -> tuple[ColumnStatistics, ...]:
        """The statistics so far, in the order of the schema."""
        return tuple(gathering.result() for gathering in self._gathering.values())


class _Gathering:
    """One column. Moments are combined by the pairwise update of Chan, Golub and LeVeque (1979)."""

    def __init__(self, column: Column, *, is_label: bool) -> None:
        self._column = column
        self._is_counted = column.type is ColumnType.CATEGORY or (
            is_label and column.type is ColumnType.INTEGER
        )
        self._frequencies: Counter[str] = Counter()
        self._records = 0
        self._elements = 0
        self._minimum = math.inf
        self._maximum = -math.inf
        self._mean = 0.0
        self._squares = 0.0

    def add(self, values: NDArray[Any]) -> None:
        self._records += len(values)
        if self._is_counted:
            self._count_values(values)
            if self._column.type is ColumnType.CATEGORY:
                return
        if self._column.type is ColumnType.IMAGE:
            weights = _histogram(values.reshape(-1)).astype(np.float64)
            present = np.flatnonzero(weights)
            self._combine(_LEVELS[present], weights[present])
        else:
            flat = values.reshape(-1).astype(np.float64)
            self._combine(flat, None)

    def _count_values(self, values: NDArray[Any]) -> None:
        if len(self._frequencies) > MAX_DISTINCT:
            return
        self._frequencies.update(map(str, values.tolist()))
        if len(self._frequencies) > MAX_DISTINCT and self._column.transform in _CODING:
            name = self._column.name
            raise SchemaViolation(
                f"the column {name!r} has more than {MAX_DISTINCT} different values, too many to learn one by"
                " one: leave it out of the schema, or if it is a quantity, give it the transform IDENTITY",
                metadata={"column": name, "limit": str(MAX_DISTINCT)},
            )

    def _combine(self, values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> None:
        count = len(values) if weights is None else int(weights.sum())
        mean = float(np.average(values, weights=weights))
        squares = float(np.sum((values - mean) ** 2 * (1.0 if weights is None else weights)))
        total = self._elements + count
        shift = mean - self._mean
        self._mean += shift * count / total
        self._squares += squares + shift**2 * self._elements * count / total
        self._elements = total
        self._minimum = min(self._minimum, float(values.min()))
        self._maximum = max(self._maximum, float(values.max()))

    def result(self) -> ColumnStatistics:
        # A label that is a quantity may differ in every record; that is not told value by value.
        counted = len(self._frequencies) <= MAX_DISTINCT
        # Among equally frequent values the sorted order decides: the same records, the same statistics.
        by_frequency = sorted(self._frequencies.items(), key=lambda item: (-item[1], item[0]))
        frequencies = dict(by_frequency[:MAX_FREQUENCIES]) if counted else {}
        if self._elements == 0:
            return ColumnStatistics(self._column.name, self._records, frequencies=frequencies)
        return ColumnStatistics(
            self._column.name,
            self._records,
            self._minimum,
            self._maximum,
            self._mean,
            math.sqrt(self._squares / self._elements),
            frequencies,
        )


def _histogram(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each byte occurs: [256]. Counting pairs first takes a third of the time."""
    even = len(pixels) // 2 * 2
    pairs = np.bincount(np.ascontiguousarray(pixels[:even]).view(np.uint16), minlength=1 << 16).reshape(
        256, 256
    )
    counts: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    return counts + np.bincount(pixels[even:], minlength=256)
