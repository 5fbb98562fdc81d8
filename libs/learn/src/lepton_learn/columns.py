"""The columns of a table, which stand in one row of a model's inputs, and layers on them."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lepton_learn.schema import Column, Transform
from lepton_learn.transform import FittedTransform
from lepton_learn.vocabulary import Vocabulary


@dataclass(frozen=True)
class Part:
    """One column of the inputs."""

    column: Column
    """The column."""
    place: int
    """Its place among the features: names of columns may hold what names of layers may not."""
    values: Any
    """float32 [batch, width]: its elements, its one-hot code, or the place of its value in the vocabulary."""
    vocabulary: int
    """Values that it may have, if it is coded; 0 if it is not."""

    @property
    def width(self) -> int:
        """Numbers that stand for one value."""
        width: int = self.values.shape[1]
        return width

    @property
    def is_index(self) -> bool:
        """Whether it is coded as a place; an unknown value has the place after the last."""
        return self.vocabulary > 0 and self.column.transform is Transform.INDEX

    def weights(self, size: int, *, name: str, initializer: str = "uniform") -> Any:
        """For each record the row [size] of a table that has one for each value of a coded column.

        Of a one-hot code it is the product with the table, so that an unknown value has a row of zeros.
        """
        if self.is_index:
            rows = keras.layers.Embedding(
                self.vocabulary + 1, size, embeddings_initializer=initializer, name=name
            )(self.values)
            return keras.layers.Flatten(name=f"{name}_row")(rows)
        return keras.layers.Dense(size, use_bias=False, kernel_initializer=initializer, name=name)(
            self.values
        )


def parts(inputs: Any, transform: FittedTransform) -> tuple[Part, ...]:
    """Take the inputs of a model, float32 [batch, *transform.input_shape], apart into their columns.

    All of it is done in float32, whatever the model computes in: bfloat16 tells places apart up to 256 alone.
    """
    flat = keras.layers.Flatten(dtype="float32", name="flatten")(inputs)
    width = flat.shape[1]
    row = keras.layers.Reshape((width, 1), dtype="float32", name="row")(flat)
    found, start = [], 0
    for place, column in enumerate(transform.schema.features):
        stop = start + int(np.prod(transform.feature_shape(column)))
        cropped = keras.layers.Cropping1D(
            (start, width - stop), dtype="float32", name=f"column_{place}_cropped"
        )(row)
        values = keras.layers.Flatten(dtype="float32", name=f"column_{place}")(cropped)
        fitted = transform.fitted[column.name]
        vocabulary = len(fitted.values) if isinstance(fitted, Vocabulary) else 0
        found.append(Part(column, place, values, vocabulary))
        start = stop
    return tuple(found)


def embedded(columns: tuple[Part, ...], *, size: int) -> Any:
    """All columns in a row, a learned embedding [size] in the place of each coded one."""
    seen = [
        part.weights(size, name=f"embedding_{part.place}") if part.vocabulary else part.values
        for part in columns
    ]
    return keras.layers.Concatenate(name="deep_columns")(seen) if len(seen) > 1 else seen[0]


def hidden(x: Any, widths: tuple[int, ...], *, dropout: float) -> Any:
    """Fully connected layers with ReLU, each of which leaves out a share of its units at a training step."""
    for place, width in enumerate(widths):
        x = keras.layers.Dense(width, "relu", kernel_initializer="he_normal", name=f"dense_{place}")(x)
        if dropout > 0:
            x = keras.layers.Dropout(dropout, name=f"dropout_{place}")(x)
    return x
