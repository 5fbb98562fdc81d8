"""The records of a split as a training loop wants them: inputs and labels by index."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_learn.rows import Layout, MemoryRows, Rows
from lepton_learn.schema import Batch
from lepton_learn.transform import FittedTransform


@dataclass(frozen=True)
class LabelScale:
    """Mean and standard deviation of a quantity to be learnt, as its transform gives it."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, labels: NDArray[np.float32]) -> "LabelScale":
        """The scale of the training labels [n, ...]; deviation 1 where they do not vary."""
        exact = labels.astype(np.float64)
        deviation = float(exact.std())
        return cls(float(exact.mean()), deviation if deviation > 0 else 1.0)


class Examples:
    """One split, its inputs in rows and its labels in memory."""

    def __init__(
        self, transform: FittedTransform, records: Batch, *, transformed_limit_bytes: int = 1 << 30
    ) -> None:
        """Take the raw records of a split into memory.

        Args:
            transform: the dataset's.
            records: all columns of the split, raw.
            transformed_limit_bytes: inputs that take more are transformed batch by batch, if that saves room.

        Raises:
            SchemaViolation: a label is not among the classes.
        """
        self._transform = transform
        self._labels = transform.labels(records)
        self._layout = Layout.of(transform, len(self._labels), limit_bytes=transformed_limit_bytes)
        self._rows: Rows = MemoryRows(self._layout.pack(records))

    @classmethod
    def of_rows(cls, layout: Layout, rows: Rows, *, labels: NDArray[Any]) -> "Examples":
        """A split whose rows are there already, in this layout, with its labels, transformed."""
        examples = cls.__new__(cls)
        examples._transform = layout.transform
        examples._labels = labels
        examples._layout = layout
        examples._rows = rows
        return examples

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def labels(self) -> NDArray[Any]:
        """All labels, transformed: int64 [n] classes, float32 [n] or, of series, [n, horizon]."""
        return self._labels

    @property
    def label_scale(self) -> LabelScale | None:
        """The scale of a quantity to be learnt; None for classes."""
        return None if self._transform.schema.is_classification else LabelScale.of(self._labels)

    def take(self, places: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """The inputs float32 [n, *input_shape] and the labels [n, ...] at these n places."""
        return self._layout.unpack(self._rows.take(places)), self._labels[places]
