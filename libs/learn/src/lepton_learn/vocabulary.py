"""The known values of a column, each with its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_learn.schema import Column, ColumnType


@dataclass(frozen=True)
class Vocabulary:
    """Values in their order; an unknown value has the place after the last."""

    values: tuple[str, ...] | tuple[int, ...]
    """Sorted: texts of a category column, whole numbers of an integer column."""

    @cached_property
    def _place(self) -> dict[Any, int]:
        return {value: place for place, value in enumerate(self.values)}

    def places(self, column: NDArray[Any]) -> NDArray[np.int64]:
        """The place of every value: int64 [n] for object or int64 [n]."""
        place, unknown = self._place, len(self.values)
        return np.fromiter((place.get(value, unknown) for value in column.tolist()), np.int64, len(column))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"values": list(self.values)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Vocabulary":
        """The inverse of `to_dict`."""
        return cls(tuple(document["values"]))


class VocabularyBuilder:
    """Collects the values of a column batch by batch, unless the column declares them."""

    def __init__(self, column: Column) -> None:
        declared: tuple[Any, ...] = column.values
        if column.type is ColumnType.INTEGER:
            declared = tuple(map(int, declared))
        self._seen: set[Any] = set(declared)
        self._open = not declared

    def add(self, values: NDArray[Any]) -> None:
        """Take in one batch: object or int64 [n]."""
        if self._open:
            self._seen.update(values.tolist())

    def vocabulary(self) -> Vocabulary:
        """All values, sorted."""
        return Vocabulary(tuple(sorted(self._seen)))
