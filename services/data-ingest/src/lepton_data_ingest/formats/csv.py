"""Comma-separated values: a header line, UTF-8, quotes as in RFC 4180, one record a row.
 Every cell stays text here: what it should be is for the schema to say. Blanks around a value do not count
and an empty cell is a missing value. Empty lines are no records.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow.csv import ConvertOptions, InvalidRow, ParseOptions, ReadOptions, open_csv

from lepton_data_ingest.formats.records import (
    Fault,
    RecordBatch,
    RecordFile,
    Texts,
    check_columns,
    column_names,
    malformed,
)

_BLOCK_BYTES = 2 * 1024 * 1024
_MAX_HEADER_BYTES = 1024 * 1024
_ROW_END = "a line end outside quotes, or the quote's end"


def read(path: Path, file: str, *, columns: Sequence[str] | None = None) -> RecordFile:
    """Open a CSV file.

    Args:
        path: the file.
        file: its name, for messages.
        columns: the ones to read; None for all.

    Raises:
        MalformedFile: there is no header of distinct names.
        SchemaViolation: a column is not there.
    """
    names = _header(path, file)
    check_columns(file, names, columns)
    wanted = [name for name in names if columns is None or name in columns]
    return RecordFile(_batches(path, file, names=names, wanted=wanted))


def _header(path: Path, file: str) -> list[str]:
    with path.open("rb") as stream:
        line = stream.readline(_MAX_HEADER_BYTES)
        has_rows = bool(stream.read(1))
    try:
        headers = next(csv.reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise malformed(
            file, "line 1", "it is not readable", expected="a header of column names in UTF-8"
        ) from error
    if not any(header.strip() for header in headers):
        raise malformed(file, "line 1", "it is empty", expected="a header of column names")
    if len(headers) == 1 and any(separator in headers[0] for separator in ";\t|"):
        raise malformed(
            file, "line 1", f"{headers[0]!r} holds no comma", expected="columns separated by commas"
        )
    if not has_rows:
        raise malformed(file, "line 2", "the file ends after its header", expected="at least one row")
    return column_names(file, headers)


class _File(io.BufferedReader):
    """A file that counts the quotes that are read from it."""

    quotes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on."""
        data = super().read(size)
        self.quotes += data.count(b'"')
        return data


class _Places:
    """Numbers the rows; pyarrow tells of those with too many or few cells apart, and in advance."""

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._broken: list[Fault] = []
        self._next = 0
        self.last_broken = ""

    def on_broken(self, row: InvalidRow) -> Literal["skip"]:
        """Note a row with another number of cells than the header; pyarrow's handler."""
        # pyarrow counts rows from 1, the header among them.
        place = (row.number or 0) - 2
        self.last_broken = row.text
        self._broken.append(Fault(place, f"the row has {row.actual_columns} cells; expected {self._cells}"))
        return "skip"

    def number(self, rows: int) -> tuple[NDArray[np.int64], tuple[Fault, ...]]:
        """The places of the next `rows` good rows, and the broken ones among them."""
        broken = np.array([fault.place for fault in self._broken], np.int64)
        good_before = broken - np.arange(len(broken)) - self._next
        good = np.arange(rows)
        places = self._next + good + np.searchsorted(good_before, good, side="right")
        if rows:
            self._next = int(places[-1]) + 1
        return places, self._take(int(np.searchsorted(good_before, rows)))

    def rest(self) -> tuple[Fault, ...]:
        """The broken rows after the last good one."""
        return self._take(len(self._broken))

    def _take(self, count: int) -> tuple[Fault, ...]:
        taken = tuple(self._broken[:count])
        del self._broken[:count]
        return taken


def _batches(path: Path, file: str, *, names: list[str], wanted: list[str]) -> Iterator[RecordBatch]:
    places = _Places(len(names))
    with _File(path.open("rb", buffering=0)) as stream:
        for rows in _rows(stream, file, names=names, wanted=wanted, places=places):
            yield _texts(rows, *places.number(rows.num_rows))
    rest = places.rest()
    if rest:
        yield RecordBatch({name: Texts(pa.array([], pa.string())) for name in wanted}, np.arange(0), rest)


def _rows(
    stream: _File, file: str, *, names: list[str], wanted: list[str], places: _Places
) -> Iterator[pa.RecordBatch]:
    count, last = 0, None
    try:
        with open_csv(
            stream,
            # Several threads would leave pyarrow without the numbers of broken rows. Any bytes are Latin-1,
            # so none keep it from parsing a row; what they are in UTF-8 is found out cell by cell.
            read_options=ReadOptions(
                use_threads=False,
                block_size=_BLOCK_BYTES,
                skip_rows=1,
                column_names=names,
                encoding="latin-1",
            ),
            parse_options=ParseOptions(newlines_in_values=True, invalid_row_handler=places.on_broken),
            convert_options=ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                include_columns=wanted,
            ),
        ) as reader:
            for batch in reader:
                count += batch.num_rows
                last = batch.slice(batch.num_rows - 1) if batch.num_rows else last
                yield batch
    except pa.ArrowInvalid as error:
        problem = f"a row does not end within {_BLOCK_BYTES} bytes"
        raise malformed(file, f"after record {count}", problem, expected=_ROW_END) from error
    # pyarrow takes the end of the file for the end of an open quote, and all rows in it for one.
    ends = [places.last_broken]
    if last is not None:
        ends += [str(cell) for cells in last.columns for cell in cells.to_pylist()]
    if stream.quotes % 2 and any("\n" in text for text in ends):
        raise malformed(file, "the last row", "a quote is never closed", expected=_ROW_END)


def _texts(rows: pa.RecordBatch, places: NDArray[np.int64], faults: tuple[Fault, ...]) -> RecordBatch:
    faulty: dict[int, Fault] = {}
    columns = {}
    for name, texts in zip(rows.schema.names, rows.columns, strict=True):
        if not pc.all(pc.string_is_ascii(texts)).as_py():
            decoded = [_decoded(text) for text in texts.to_pylist()]
            texts = pa.array(decoded, pa.string())
            for row in np.flatnonzero(texts.is_null()).tolist():
                faulty[row] = Fault(int(places[row]), "it is not UTF-8", column=name)
        trimmed = pc.utf8_trim_whitespace(texts)
        columns[name] = Texts.of(pc.if_else(pc.equal(trimmed, pa.scalar("")), None, trimmed), untyped=True)
    return RecordBatch(columns, places, faults).without(faulty)


def _decoded(text: str | None) -> str | None:
    """The text in UTF-8 whose bytes were taken for Latin-1; None if they are no UTF-8."""
    try:
        return None if text is None else text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return None
