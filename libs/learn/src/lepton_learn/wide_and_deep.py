"""Wide and deep: a linear model that remembers and a network that generalises, trained as one.

Cheng et al., Wide & Deep Learning for Recommender Systems, 2016. There each half has an optimizer of its own;
here one updates both.
"""

from typing import Any

import keras

from lepton_common.errors import InvalidModel
from lepton_learn.columns import Part, embedded, hidden, parts
from lepton_learn.examples import LabelScale
from lepton_learn.layers import in_unit
from lepton_learn.recipe import WideAndDeep
from lepton_learn.transform import FittedTransform

_MOST_PAIRS = 1_000_000
"""Pairs of values of a cross."""


def build_wide_and_deep(
    recipe: WideAndDeep, transform: FittedTransform, *, label_scale: LabelScale | None
) -> keras.Model:
    """The sum of a linear model and a network, both over all columns of a table.

    The linear model sees numbers as they are, one weight for each value of a coded column, and one for each
    pair of values of two crossed ones (equation 1 of the paper). It begins at zero, so what nobody has seen
    counts nothing. The network sees numbers and embeddings of the coded columns; images and tensors it alone.

    Raises:
        InvalidModel: a cross is of something else than two coded columns, or has too many pairs of values.
    """
    inputs = keras.Input(transform.input_shape, name="features")
    columns = parts(inputs, transform)
    units = len(transform.classes) or 1
    terms = [_linear(columns, units), *_indexed(columns, units)]
    for place, names in enumerate(recipe.crosses):
        one, other = _crossed(columns, names)
        terms.append(_cross(one, other, units, name=f"cross_{place}"))
    x = hidden(embedded(columns, size=recipe.embedding_size), recipe.hidden_units, dropout=recipe.dropout)
    terms.append(keras.layers.Dense(units, dtype="float32", name="deep")(x))
    name = "logits" if label_scale is None else "standardized"
    x = keras.layers.Add(dtype="float32", name=name)([term for term in terms if term is not None])
    return keras.Model(inputs, x if label_scale is None else in_unit(x, label_scale), name="wide_and_deep")


def _linear(columns: tuple[Part, ...], units: int) -> Any:
    """What numbers and one-hot codes add; None without any."""
    seen = [part.values for part in columns if not part.is_index and not part.column.shape]
    if not seen:
        return None
    x = keras.layers.Concatenate(name="wide_columns")(seen) if len(seen) > 1 else seen[0]
    return keras.layers.Dense(units, use_bias=False, kernel_initializer="zeros", name="wide")(x)


def _indexed(columns: tuple[Part, ...], units: int) -> list[Any]:
    """What columns that are coded as places add."""
    return [
        part.weights(units, name=f"wide_{part.place}", initializer="zeros")
        for part in columns
        if part.is_index
    ]


def _crossed(columns: tuple[Part, ...], names: tuple[str, ...]) -> tuple[Part, Part]:
    by_name = {part.column.name: part for part in columns}
    for name in names:
        if name not in by_name or not by_name[name].vocabulary:
            coded = ", ".join(part.column.name for part in columns if part.vocabulary)
            raise InvalidModel(
                f"{name!r} cannot be crossed: columns that are coded one_hot or index can, and they are: "
                f"{coded or 'none'}"
            )
    one, other = (by_name[name] for name in names)
    if one.vocabulary * other.vocabulary > _MOST_PAIRS:
        raise InvalidModel(
            f"{names[0]!r} and {names[1]!r} have {one.vocabulary} x {other.vocabulary} pairs of values; "
            f"a cross may have {_MOST_PAIRS}"
        )
    return one, other


def _cross(one: Part, other: Part, units: int, *, name: str) -> Any:
    """One weight for each pair of values: w[a, b], or a W b for one-hot codes a and b."""
    if other.is_index and not one.is_index:
        one, other = other, one
    if other.is_index:
        # Both are places: together they are the place of the pair, exact in float32 as far as there may be.
        line = keras.layers.Rescaling(other.vocabulary + 1, dtype="float32", name=f"{name}_line")(one.values)
        pair = keras.layers.Add(dtype="float32", name=f"{name}_pair")([line, other.values])
        pairs = (one.vocabulary + 1) * (other.vocabulary + 1)
        rows = keras.layers.Embedding(pairs, units, embeddings_initializer="zeros", name=name)(pair)
        return keras.layers.Flatten(name=f"{name}_row")(rows)
    rows = one.weights(other.width * units, name=name, initializer="zeros")
    rows = keras.layers.Reshape((other.width, units), name=f"{name}_rows")(rows)
    return keras.layers.Dot(1, name=f"{name}_pair")([rows, other.values])
