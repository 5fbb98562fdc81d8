"""What readers give: batches of records as they stand in the file, before any schema is applied."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lepton_common.errors import MalformedFile, SchemaViolation, TooLarge

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""The largest record that is read. It bounds what a lying header can make a reader allocate."""

MAX_COLUMNS = 4096
"""As many columns as a schema may have."""

_NAME = re.compile(r"[^\x00-\x1f\x7f]+")
_MAX_NAME_BYTES = 128
_BATCH_BYTES = 8 * 1024 * 1024
_BATCH_RECORDS = 16_384


@dataclass(frozen=True)
class Numbers:
    """Numeric values."""

    values: NDArray[Any]
    """Any numeric or bool dtype, [n, ...]."""
    missing: NDArray[np.bool_] | None = None
    """bool [n]: where there is no value; None where all are there."""

    def __len__(self) -> int:
        return len(self.values)

    def take(self, kept: NDArray[np.bool_]) -> "Numbers":
        """Those where `kept` [n] is true."""
        return Numbers(self.values[kept], None if self.missing is None else self.missing[kept])


@dataclass(frozen=True)
class Texts:
    """Texts, of categories or of numbers still to be parsed."""

    values: pa.StringArray
    """[n]; null where there is no value."""
    untyped: bool = False
    """Whether the source knows only texts (CSV), so that one may stand for a number."""

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, values: "pa.Array[Any]", *, untyped: bool = False) -> "Texts":
        """Any array of texts, or of what has a text."""
        return cls(cast(pa.StringArray, values.cast(pa.string())), untyped)

    def take(self, kept: NDArray[np.bool_]) -> "Texts":
        """Those where `kept` [n] is true."""
        return Texts.of(self.values.filter(pa.array(kept)), untyped=self.untyped)


@dataclass(frozen=True)
class Pictures:
    """Image files, still encoded."""

    files: Sequence[bytes | None]
    """[n]: PNG, JPEG or BMP; None where there is none."""

    def __len__(self) -> int:
        return len(self.files)

    def take(self, kept: NDArray[np.bool_]) -> "Pictures":
        """Those where `kept` [n] is true."""
        return Pictures([self.files[row] for row in np.flatnonzero(kept).tolist()])


Values: TypeAlias = Numbers | Texts | Pictures
"""One column of a batch."""


@dataclass(frozen=True)
class Fault:
    """A record that cannot be used, and why."""

    place: int
    """Its number in the file, from 0."""
    message: str
    """What is wrong and what was expected."""
    column: str = ""
    """The column at fault; empty where the whole record is."""


@dataclass(frozen=True)
class RecordBatch:
    """Some records, in the order of the file."""

    columns: Mapping[str, Values]
    """By column name, all of one length n."""
    places: NDArray[np.int64]
    """int64 [n]: the number of each record in its file, from 0."""
    faults: tuple[Fault, ...] = ()
    """Records met on the way of which nothing could be read; they are in no column."""

    def without(self, faulty: Mapping[int, Fault]) -> "RecordBatch":
        """The batch less some records.

        Args:
            faulty: by row in this batch.
        """
        if not faulty:
            return self
        kept = np.ones(len(self.places), np.bool_)
        kept[list(faulty)] = False
        return RecordBatch(
            {name: values.take(kept) for name, values in self.columns.items()},
            self.places[kept],
            (*self.faults, *(faulty[row] for row in sorted(faulty))),
        )

    def parts(self, records: int) -> "Iterator[RecordBatch]":
        """The batch in parts of at most so many records; its faults are with the first."""
        if len(self.places) <= records:
            yield self
            return
        rows = np.arange(len(self.places))
        for start in range(0, len(rows), records):
            kept = (rows >= start) & (rows < start + records)
            columns = {name: values.take(kept) for name, values in self.columns.items()}
            yield RecordBatch(columns, self.places[kept], () if start else self.faults)


@dataclass(frozen=True)
class RecordFile:
    """An opened file."""

    batches: Iterator[RecordBatch]
    """Its records, to be read once."""
    total: int | None = None
    """How many records it holds, where that is known beforehand."""


def batch_records(record_bytes: int) -> int:
    """How many records of this size make a batch that is worth the overhead and small beside a shard."""
    return max(1, min(_BATCH_RECORDS, _BATCH_BYTES // max(1, record_bytes)))


def column_names(file: str, headers: Sequence[str]) -> list[str]:
    """The column names of a whole header: as they stand there, without blanks around them.

    Raises:
        MalformedFile: two columns have one name, or one has none that a column can have.
        TooLarge: there are more columns than a schema may have.
    """
    if len(headers) > MAX_COLUMNS:
        raise TooLarge(
            f"{file}: {len(headers)} columns; at most {MAX_COLUMNS} are read",
            metadata={"file": file, "limit": str(MAX_COLUMNS), "columns": str(len(headers))},
        )
    names: dict[str, int] = {}
    for place, header in enumerate(headers):
        name = header.strip()
        if not _NAME.fullmatch(name) or len(name.encode(errors="replace")) > _MAX_NAME_BYTES:
            expected = f"a name of 1 to {_MAX_NAME_BYTES} bytes without control characters"
            raise malformed(
                file, f"column {place}", f"it is named {name[:_MAX_NAME_BYTES]!r}", expected=expected
            )
        if name in names:
            problem = f"it is named {name!r}, as column {names[name]}"
            raise malformed(
                file, f"column {place}", problem, expected="one name for each column, no two alike"
            )
        names[name] = place
    return list(names)


def check_columns(file: str, present: Sequence[str], wanted: Sequence[str] | None) -> None:
    """Refuse a file that lacks a column of the schema.

    Raises:
        SchemaViolation: a wanted column is not there.
    """
    missing = [name for name in wanted or () if name not in present]
    if missing:
        raise SchemaViolation(
            f"{file}: there is no column {missing[0]!r}; its columns are {', '.join(present)}",
            metadata={"file": file, "column": missing[0]},
        )


def check_record_size(file: str, size: int) -> None:
    """Refuse records that no batch could hold.

    Raises:
        TooLarge: one record is over `MAX_RECORD_BYTES`.
    """
    if size > MAX_RECORD_BYTES:
        raise TooLarge(
            f"{file}: one record has {size} bytes; at most {MAX_RECORD_BYTES} are read",
            metadata={"file": file, "limit_bytes": str(MAX_RECORD_BYTES), "size_bytes": str(size)},
        )


def malformed(file: str, place: str, problem: str, *, expected: str) -> MalformedFile:
    """The error for a file that is not what its format asks for.

    Args:
        file: its name.
        place: where, as in `byte 16` or `record 7`.
        problem: what is there.
        expected: what should be.
    """
    return MalformedFile(
        f"{file}: {place}: {problem}; expected {expected}",
        metadata={"file": file, "place": place, "expected": expected},
    )
