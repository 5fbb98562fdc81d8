"""Apache Parquet: one column of the file for one column of the schema.
 Numbers, booleans and texts are taken as they are. Lists of numbers of one length become tensors. Binary
columns, and structs with a binary field `bytes` (as data sets with images are often published), hold PNG,
JPEG or BMP files.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lepton_common.errors import TooLarge
from lepton_data_ingest.formats import arrow
from lepton_data_ingest.formats.records import (
    Fault,
    RecordBatch,
    RecordFile,
    Values,
    batch_records,
    check_columns,
    check_record_size,
    column_names,
    malformed,
)

Field: TypeAlias = "pa.Field[Any]"

_MAX_GROUP_BYTES = 4 * 1024**3
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


def read(path: Path, file: str, *, columns: Sequence[str] | None = None) -> RecordFile:
    """Open a Parquet file.

    Args:
        path: the file.
        file: its name, for messages.
        columns: the ones to read; None for all.

    Raises:
        MalformedFile: it is not Parquet, or a column is of a type that no record holds.
        SchemaViolation: a column is not there.
        TooLarge: a single record is too large.
    """
    try:
        parquet = pq.ParquetFile(path, page_checksum_verification=True)
        schema = parquet.schema_arrow
    except _DAMAGE as error:
        raise malformed(
            file, "the footer", "it is not readable", expected="an intact Parquet file"
        ) from error
    names = column_names(file, schema.names)
    check_columns(file, names, columns)
    wanted = {
        name: field for name, field in zip(names, schema, strict=True) if columns is None or name in columns
    }
    for name, field in wanted.items():
        if not arrow.is_readable(field.type):
            expected = "numbers, texts, lists of numbers or images; leave it out of the schema"
            raise malformed(file, f"column {name!r}", f"it is of type {field.type}", expected=expected)
    _check_groups(parquet.metadata, file)
    record_bytes = max(
        _mean_bytes(parquet.metadata), *(arrow.cell_bytes(field.type) for field in wanted.values())
    )
    check_record_size(file, record_bytes)
    batches = _batches(parquet, file, wanted=wanted, records=batch_records(record_bytes))
    return RecordFile(batches, total=parquet.metadata.num_rows)


def _check_groups(metadata: pq.FileMetaData, file: str) -> None:
    """Refuse row groups that would unpack to more than a reader should hold."""
    # Asking for single columns would say more, and ends the process where a damaged footer makes no sense.
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).total_byte_size
        if size > _MAX_GROUP_BYTES:
            raise TooLarge(
                f"{file}: row group {group} holds {size} bytes; at most {_MAX_GROUP_BYTES} are read:"
                " write smaller row groups",
                metadata={"file": file, "limit_bytes": str(_MAX_GROUP_BYTES), "size_bytes": str(size)},
            )


def _mean_bytes(metadata: pq.FileMetaData) -> int:
    """The mean size of a record, in the row group where it is largest."""
    groups = (metadata.row_group(place) for place in range(metadata.num_row_groups))
    return max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)


def _batches(
    parquet: pq.ParquetFile, file: str, *, wanted: dict[str, Field], records: int
) -> Iterator[RecordBatch]:
    headers = {field.name: name for name, field in wanted.items()}
    lengths: dict[str, int] = {}
    place = 0
    with parquet:
        batches = parquet.iter_batches(batch_size=records, columns=list(headers))
        while (batch := _next(batches, file, place=place)) is not None:
            columns: dict[str, Values] = {}
            faulty: dict[int, Fault] = {}
            for header, array in zip(batch.schema.names, batch.columns, strict=True):
                name = headers[header]
                if isinstance(array, pa.ListArray | pa.LargeListArray):
                    lengths[name] = lengths.get(name) or arrow.first_length(array)
                    columns[name], wrong = arrow.lists(array, lengths[name])
                    for row, message in wrong.items():
                        faulty[row] = Fault(place + row, message, column=name)
                else:
                    columns[name] = arrow.values(array)
            yield RecordBatch(columns, np.arange(place, place + batch.num_rows)).without(faulty)
            place += batch.num_rows


def _next(batches: Iterator[pa.RecordBatch], file: str, *, place: int) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except _DAMAGE as error:
        expected = "an intact Parquet file"
        raise malformed(file, f"after record {place}", "the data is damaged", expected=expected) from error
