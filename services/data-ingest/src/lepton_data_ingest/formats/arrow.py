"""Arrow's arrays as columns of a batch: which types can be read, and how."""

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lepton_data_ingest.formats.records import Numbers, Pictures, Texts, Values

Array: TypeAlias = "pa.Array[Any]"


def is_readable(kind: pa.DataType) -> bool:
    """Whether a column of this type can be read."""
    if isinstance(kind, pa.FixedShapeTensorType):
        in_order = kind.permutation is None or kind.permutation == sorted(kind.permutation)
        return in_order and is_readable(kind.storage_type)
    if isinstance(kind, pa.DictionaryType):
        return is_readable(kind.value_type)
    if isinstance(kind, pa.FixedSizeListType):
        nested = isinstance(kind.value_type, pa.FixedSizeListType) and is_readable(kind.value_type)
        return kind.list_size > 0 and (_is_scalar(kind.value_type) or nested)
    if isinstance(kind, pa.ListType | pa.LargeListType):
        return _is_scalar(kind.value_type)
    if isinstance(kind, pa.StructType):
        return kind.get_field_index("bytes") >= 0 and _is_file(kind.field("bytes").type)
    return _is_scalar(kind) or pa.types.is_decimal(kind) or _is_text(kind) or _is_file(kind)


def cell_bytes(kind: pa.DataType) -> int:
    """The size of a value of fixed size, known before any is read; 0 for others."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return cell_bytes(kind.storage_type)
    if isinstance(kind, pa.FixedSizeListType):
        return int(kind.list_size) * max(1, cell_bytes(kind.value_type))
    return int(kind.bit_width) // 8 if _is_scalar(kind) else 0


def values(array: Array) -> Values:
    """An array of a readable type that is not a list of variable length."""
    if isinstance(array, pa.FixedShapeTensorArray) and isinstance(array.type, pa.FixedShapeTensorType):
        numbers = _numbers(array.storage)
        return Numbers(numbers.values.reshape(len(array), *array.type.shape), numbers.missing)
    if isinstance(array, pa.DictionaryArray):
        return values(array.dictionary_decode())
    if isinstance(array, pa.StructArray):
        return Pictures(pc.struct_field(array, "bytes").to_pylist())
    if _is_file(array.type):
        return Pictures(array.to_pylist())
    if _is_text(array.type):
        return Texts.of(array)
    return _numbers(array)


def first_length(array: Array) -> int:
    """The length of the first list that is there; 0 if there is none."""
    lengths = pc.list_value_length(array.drop_null())
    return int(lengths[0].as_py()) if len(lengths) else 0


def lists(array: "pa.ListArray[Any] | pa.LargeListArray[Any]", length: int) -> tuple[Numbers, dict[int, str]]:
    """Lists that should all have this length, and by row what is wrong with those that have another."""
    counts = pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False)
    fits = counts == length
    inner = _numbers(array.filter(pa.array(fits)).flatten())
    found = np.zeros((len(array), length), inner.values.dtype)
    found[fits] = inner.values.reshape(-1, length)
    missing = ~fits
    if inner.missing is not None:
        missing[fits] = inner.missing.reshape(-1, length).any(axis=1)
    wrong = np.flatnonzero(~fits & (counts >= 0)).tolist()
    return Numbers(found, missing), {row: f"it has {counts[row]} values; expected {length}" for row in wrong}


def _numbers(array: Array) -> Numbers:
    """Scalars [n], or lists of fixed size [n, size, ...], which count as missing if a value in them is."""
    if isinstance(array, pa.FixedSizeListArray):
        size = array.type.list_size
        # `values` is all that backs the array: more than its own records, and placeholders for missing ones.
        inner = _numbers(array.values.slice(array.offset * size, len(array) * size))
        missing = _missing(array)
        if inner.missing is not None:
            within = np.any(inner.missing.reshape(len(array), size), axis=1)
            missing = within if missing is None else missing | within
        return Numbers(inner.values.reshape(len(array), size, *inner.values.shape[1:]), missing)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    missing = _missing(array)
    if missing is not None:
        array = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    return Numbers(array.to_numpy(zero_copy_only=False), missing)


def _missing(array: Array) -> NDArray[np.bool_] | None:
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def _is_scalar(kind: pa.DataType) -> bool:
    return pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_file(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    # Dates and times have a text of their own, in ISO 8601.
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    return is_time or pa.types.is_string(kind) or pa.types.is_large_string(kind)
