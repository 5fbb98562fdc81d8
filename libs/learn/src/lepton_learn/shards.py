"""A shard: one batch of records as Parquet, compressed with zstd, readable without TensorFlow or Lepton.

Numbers and integers are plain columns, categories dictionary-encoded strings. Images and tensors are
fixed-size binary, row-major; shape and dtype stand in the column's metadata. That decodes without touching
single values: several hundred thousand small images a second on one core.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lepton_common.errors import MalformedFile
from lepton_learn.schema import Batch

_SHAPE = b"lepton.shape"
_DTYPE = b"lepton.dtype"


def write_shard(batch: Mapping[str, NDArray[Any]]) -> bytes:
    """Encode records.

    Args:
        batch: arrays of equal length by column name: float32 [n], int64 [n], object [n] of str, uint8 or
            float32 [n, ...].

    Returns:
        A Parquet file. Equal batches give equal bytes under one version of pyarrow.

    Raises:
        ValueError: a dtype is none of these, or the lengths differ.
    """
    fields, columns = [], []
    for name, values in batch.items():
        column, metadata = _encode(name, values)
        fields.append(pa.field(name, column.type, nullable=False, metadata=metadata))
        columns.append(column)
    table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    texts = [field.name for field in fields if pa.types.is_string(field.type)]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=3,
        use_dictionary=texts or False,  # type: ignore[arg-type]  # the stubs know no list
        write_statistics=False,
        row_group_size=max(1, table.num_rows),
    )
    return sink.getvalue()


def read_shard(data: bytes) -> Batch:
    """Decode what `write_shard` wrote; the arrays are read-only views where that saves a copy.

    Raises:
        MalformedFile: the bytes are not a shard.
    """
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        return {
            field.name: _decode(table.column(place), field.metadata or {})
            for place, field in enumerate(table.schema)
        }
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise MalformedFile("the shard is not readable as Parquet of records") from error


def _encode(name: str, values: NDArray[Any]) -> tuple["pa.Array[Any]", dict[bytes, bytes]]:
    if values.ndim == 1:
        kinds = {"float32": pa.float32(), "int64": pa.int64(), "object": pa.string()}
        if values.dtype.name not in kinds:
            raise ValueError(f"column {name!r} has dtype {values.dtype}, which no shard holds")
        return pa.array(values, type=kinds[values.dtype.name], from_pandas=False), {}
    if values.dtype.name not in ("uint8", "float32"):
        raise ValueError(
            f"column {name!r} has dtype {values.dtype} and shape {values.shape}, which no shard holds"
        )
    flat = np.ascontiguousarray(values)
    width = flat.itemsize * int(np.prod(flat.shape[1:]))
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(flat), [None, pa.py_buffer(flat.data)]
    )
    return column, {_SHAPE: json.dumps(flat.shape[1:]).encode(), _DTYPE: flat.dtype.name.encode()}


def _decode(column: "pa.ChunkedArray[Any]", metadata: Mapping[bytes, bytes]) -> NDArray[Any]:
    if column.null_count:
        raise ValueError("a shard holds no missing values")
    array = column.combine_chunks()
    if not pa.types.is_fixed_size_binary(array.type):
        values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return values
    dtype = np.dtype(metadata[_DTYPE].decode())
    shape = tuple(json.loads(metadata[_SHAPE]))
    count = len(array) * array.type.byte_width // dtype.itemsize
    start = array.offset * array.type.byte_width
    flat = np.frombuffer(memoryview(array.buffers()[1]), dtype, count=count, offset=start)  # type: ignore[arg-type]
    return flat.reshape(len(array), *shape)
