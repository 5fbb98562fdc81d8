"""Filling in what a schema leaves open, from the first records of the sources."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from lepton_common.errors import SchemaViolation
from lepton_data_ingest.formats.images import UnusableImage, decode
from lepton_data_ingest.formats.records import Numbers, Pictures, Texts, Values
from lepton_data_ingest.parsing import parse_integers, parse_numbers
from lepton_data_ingest.schema import DraftColumn, DraftSchema, label_of
from lepton_learn.schema import Column, ColumnType, Schema

NUMERIC_SHARE = 0.95
"""Cells of which so many are numbers are a column of numbers, and the others are faults: a slip in a number
column must not turn it into categories."""

_CHANNELS = (1, 3, 4)


def infer(draft: DraftSchema, sample: Mapping[str, Values]) -> Schema:
    """Resolve a schema.

    A column of CSV is an integer or a number if nearly all its cells are (`NUMERIC_SHARE`), else a category;
    typed sources say what they hold. 8-bit arrays of the shape of images, and image files, are images; other
    arrays of several dimensions are tensors. Shapes are those of the first record.

    Args:
        draft: what the user says; without columns, all columns of the sample are taken.
        sample: the first records of the sources, by column.

    Raises:
        SchemaViolation: a column has no value to infer from, or is not in the sample.
        InvalidField: no column is the label, or the columns make no record that can be learnt from.
    """
    columns = draft.columns or tuple(DraftColumn(name=name) for name in sample)
    label = label_of(draft, [column.name for column in columns])
    return Schema(tuple(_resolve(column, sample, label=column.name == label) for column in columns), label)


def _resolve(column: DraftColumn, sample: Mapping[str, Values], *, label: bool) -> Column:
    if column.name not in sample:
        raise SchemaViolation(
            f"no source has the column {column.name!r}; there are {', '.join(sample)}",
            metadata={"column": column.name},
        )
    values = sample[column.name]
    column_type = column.type or _type(column, values)
    shape = column.shape or _shape(column_type, values, name=column.name)
    return column.resolved(column_type, shape, label=label)


def _type(column: DraftColumn, values: Values) -> ColumnType:
    if isinstance(values, Pictures):
        return ColumnType.IMAGE
    if isinstance(values, Numbers):
        return _array_type(values, shape=column.shape)
    if not values.untyped:
        return ColumnType.CATEGORY
    cells = Texts.of(values.values.drop_null()).values
    if len(cells) == 0:
        raise SchemaViolation(
            f"the first records have no value in the column {column.name!r}: give its type in the schema",
            metadata={"column": column.name},
        )
    return _cell_type(cells)


def _array_type(values: Numbers, *, shape: tuple[int, ...]) -> ColumnType:
    array = values.values
    if array.ndim == 1:
        return ColumnType.NUMBER if array.dtype.kind == "f" else ColumnType.INTEGER
    found = shape or array.shape[1:]
    looks_like_image = len(found) == 2 or (len(found) == 3 and found[-1] in _CHANNELS)
    return ColumnType.IMAGE if array.dtype == np.uint8 and looks_like_image else ColumnType.TENSOR


def _cell_type(cells: pa.StringArray) -> ColumnType:
    numbers = np.isfinite(parse_numbers(cells))
    if numbers.mean() < NUMERIC_SHARE:
        return ColumnType.CATEGORY
    whole = parse_integers(cells)[1]
    return ColumnType.INTEGER if (whole | ~numbers).all() else ColumnType.NUMBER


def _shape(column_type: ColumnType, values: Values, *, name: str) -> tuple[int, ...]:
    if column_type not in (ColumnType.IMAGE, ColumnType.TENSOR):
        return ()
    if isinstance(values, Texts):
        raise SchemaViolation(
            f"the column {name!r} holds texts; its type is {column_type}", metadata={"column": name}
        )
    if isinstance(values, Pictures):
        return _first_image_shape(values, name=name)
    shape = values.values.shape[1:]
    return (*shape, 1) if column_type is ColumnType.IMAGE and len(shape) == 2 else shape


def _first_image_shape(values: Pictures, *, name: str) -> tuple[int, ...]:
    problem = "there is none"
    for file in values.files:
        try:
            if file is not None:
                return decode(file).shape
        except UnusableImage as error:
            problem = str(error)
    raise SchemaViolation(
        f"none of the first records has a usable image in the column {name!r}: {problem}",
        metadata={"column": name},
    )
