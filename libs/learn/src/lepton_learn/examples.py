"""The records of a split as a training loop wants them: inputs and labels by index."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_learn.schema import Batch, ColumnType
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
    """One split in memory.

    Inputs are transformed once, unless that takes much memory: a single image column stays as bytes, a
    quarter of its size as float32, and so do records that one-hot columns blow up. Those are transformed
    batch by batch.
    """

    def __init__(
        self, transform: FittedTransform, records: Batch, *, transformed_limit_bytes: int = 1 << 30
    ) -> None:
        """Take the raw records of a split.

        Args:
            transform: the dataset's.
            records: all columns of the split, raw.
            transformed_limit_bytes: inputs that take more are transformed batch by batch.

        Raises:
            SchemaViolation: a label is not among the classes.
        """
        self._transform = transform
        self._labels = transform.labels(records)
        features = transform.schema.features
        self._raw = {column.name: records[column.name] for column in features}
        self._inputs: NDArray[np.float32] | None = None
        size = 4 * len(self) * int(np.prod(transform.input_shape))
        one_image = len(features) == 1 and features[0].type is ColumnType.IMAGE
        if not one_image and size <= transformed_limit_bytes:
            self._inputs = transform.inputs(self._raw)
            self._raw = {}

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
        if self._inputs is not None:
            return self._inputs[places], self._labels[places]
        raw = {name: values[places] for name, values in self._raw.items()}
        return self._transform.inputs(raw), self._labels[places]
