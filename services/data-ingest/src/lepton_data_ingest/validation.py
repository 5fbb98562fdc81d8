"""Holding records against a schema: what fits becomes arrays, what does not becomes a fault with its reason.
 Whole columns are checked at a time. A column that cannot hold what the schema says in any record (images
where it says numbers, another shape) ends the file with `SchemaViolation`; everything else is a fault of its
record alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lepton_common.errors import SchemaViolation
from lepton_data_ingest.formats.images import UnusableImage, decode
from lepton_data_ingest.formats.records import Fault, Numbers, Pictures, RecordBatch, Texts, Values
from lepton_data_ingest.parsing import parse_integers, parse_numbers
from lepton_learn.schema import Batch, Column, ColumnType, Schema

MAX_CATEGORY_BYTES = 1024
"""A longer text stands for no category."""

_SHOWN_CHARACTERS = 64
_EXACT_IN_FLOAT64 = 2**53


@dataclass(frozen=True)
class Records:
    """Records that fit a schema."""

    columns: Batch
    """Raw arrays in the dtypes of `lepton_learn.schema.ColumnType`, all of one length n."""
    places: NDArray[np.int64]
    """int64 [n]: the number of each record in its file."""

    def __len__(self) -> int:
        return len(self.places)

    def take(self, mask: NDArray[np.bool_]) -> "Records":
        """Those where `mask` [n] is true."""
        return Records({name: values[mask] for name, values in self.columns.items()}, self.places[mask])


@dataclass(frozen=True)
class Checked:
    """A batch, checked."""

    records: Records
    """The records that fit the schema."""
    faults: tuple[Fault, ...]
    """One for each record left out, in the order of the file."""


def check(batch: RecordBatch, schema: Schema, *, file: str) -> Checked:
    """Check a batch of records.

    Args:
        batch: has every column of the schema.
        schema: what to hold them against.
        file: the name of their file, for messages.

    Raises:
        SchemaViolation: a column as a whole is not what the schema says.
    """
    arrays: Batch = {}
    reasons: dict[int, tuple[str, str]] = {}
    for column in schema.columns:
        coercion = _Coercion(column, len(batch.places), file=file)
        arrays[column.name] = coercion.apply(batch.columns[column.name])
        for row, reason in coercion.reasons.items():
            reasons.setdefault(row, (column.name, reason))
    faults = [Fault(int(batch.places[row]), reason, name) for row, (name, reason) in reasons.items()]
    records = Records(arrays, batch.places)
    if reasons:
        kept = np.ones(len(records), np.bool_)
        kept[list(reasons)] = False
        records = records.take(kept)
    return Checked(records, tuple(sorted((*batch.faults, *faults), key=lambda fault: fault.place)))


class _Coercion:
    """One column of one batch on its way into the schema's dtype; `reasons` are the faults by row."""

    def __init__(self, column: Column, records: int, *, file: str) -> None:
        self._column = column
        self._records = records
        self._file = file
        self.reasons: dict[int, str] = {}

    def apply(self, values: Values) -> NDArray[Any]:
        """The values as an array; where there is a fault, whatever."""
        match self._column.type:
            case ColumnType.NUMBER:
                return self._number(values)
            case ColumnType.INTEGER:
                return self._integer(values)
            case ColumnType.CATEGORY:
                return self._category(values)
            case ColumnType.IMAGE:
                return self._image(values)
            case ColumnType.TENSOR:
                return self._tensor(values)

    def _number(self, values: Values) -> NDArray[np.float32]:
        if isinstance(values, Texts):
            cells = self._cells(values)
            wide = parse_numbers(cells)
            unparsed = np.isnan(wide) & ~_says_nan(cells)
            self._fault(unparsed, lambda row: f"{_shown(cells[row].as_py())} is not a number")
        else:
            wide = self._scalars(values).astype(np.float64)
        with np.errstate(over="ignore"):
            numbers = wide.astype(np.float32)
        self._fault(np.isnan(wide), lambda row: "NaN is not a number to learn from; expected a finite number")
        self._fault(np.isinf(wide), lambda row: "the number is infinite; expected a finite number")
        self._fault(np.isinf(numbers), lambda row: f"{wide[row]:g} is too large; expected a 32-bit number")
        self._bounds(wide)
        return numbers

    def _integer(self, values: Values) -> NDArray[np.int64]:
        if isinstance(values, Texts):
            cells = self._cells(values)
            integers, good = parse_integers(cells)
            self._fault(~good, lambda row: f"{_shown(cells[row].as_py())} is not a whole number")
        else:
            array = self._scalars(values)
            good = np.ones(len(array), np.bool_)
            if array.dtype.kind == "f":
                with np.errstate(invalid="ignore"):
                    good = (np.abs(array) <= _EXACT_IN_FLOAT64) & (np.floor(array) == array)
            elif array.dtype == np.uint64:
                good = array <= np.iinfo(np.int64).max
            self._fault(~good, lambda row: f"{array[row]!s} is not a whole number of 64 bits")
            integers = np.where(good, array, 0).astype(np.int64)
        if self._column.values:
            allowed = np.array([int(value) for value in self._column.values], np.int64)
            self._fault(~np.isin(integers, allowed), lambda row: self._not_allowed(integers[row]))
        self._bounds(integers)
        return integers

    def _category(self, values: Values) -> NDArray[np.object_]:
        if isinstance(values, Texts):
            texts = values.values
        else:
            array = self._scalars(values)
            if array.dtype.kind not in "biu":
                raise self._violation(f"holds numbers of type {array.dtype}")
            texts = Texts.of(pa.array(array.astype(np.int64), pa.int64())).values
        self._missing(texts.is_null().to_numpy(zero_copy_only=False))
        lengths = pc.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
        self._fault(
            lengths > MAX_CATEGORY_BYTES,
            lambda row: (
                f"the text is longer than {MAX_CATEGORY_BYTES} bytes; expected the name of a category"
            ),
        )
        if self._column.values:
            known = pc.is_in(texts, value_set=pa.array(self._column.values, pa.string()))
            self._fault(
                ~known.to_numpy(zero_copy_only=False),
                lambda row: self._not_allowed(_shown(texts[row].as_py())),
            )
        return texts.to_numpy(zero_copy_only=False)

    def _image(self, values: Values) -> NDArray[np.uint8]:
        if isinstance(values, Texts):
            raise self._violation("holds texts")
        if isinstance(values, Pictures):
            return self._decoded(values)
        array = self._shaped(values)
        if array.dtype != np.uint8:
            with np.errstate(invalid="ignore"):
                bytes_only = (array >= 0) & (array <= 255) & (np.floor(array) == array)
            self._fault(
                ~_all(bytes_only), lambda row: "the image holds values that are no bytes from 0 to 255"
            )
            array = np.where(bytes_only, array, 0).astype(np.uint8)
        return array

    def _decoded(self, values: Pictures) -> NDArray[np.uint8]:
        images = np.zeros((self._records, *self._column.shape), np.uint8)
        for row, file in enumerate(values.files):
            if file is None:
                self.reasons.setdefault(row, "the image is missing")
                continue
            try:
                images[row] = decode(file, self._column.shape)
            except UnusableImage as error:
                self.reasons.setdefault(row, str(error))
        return images

    def _tensor(self, values: Values) -> NDArray[np.float32]:
        if not isinstance(values, Numbers):
            raise self._violation("holds " + ("texts" if isinstance(values, Texts) else "image files"))
        with np.errstate(over="ignore"):
            array = self._shaped(values).astype(np.float32)
        self._fault(
            ~_all(np.isfinite(array)), lambda row: "the tensor holds NaN or infinity; expected finite numbers"
        )
        return array

    def _cells(self, values: Texts) -> pa.StringArray:
        """The texts; a missing one, which is a fault, as 0."""
        self._missing(values.values.is_null().to_numpy(zero_copy_only=False))
        return Texts.of(values.values.fill_null("0")).values

    def _scalars(self, values: Numbers | Pictures) -> NDArray[Any]:
        """The values as [n]."""
        if isinstance(values, Pictures):
            raise self._violation("holds image files")
        array = values.values
        if array.size != self._records:
            raise self._violation(f"holds arrays of shape {list(array.shape[1:])}")
        self._missing(values.missing)
        return array.reshape(self._records)

    def _shaped(self, values: Numbers) -> NDArray[Any]:
        """The values as [n, *shape]: they may stand in the file without the channel axis, or flat."""
        array, shape = values.values, self._column.shape
        found = array.shape[1:]
        if found not in (shape, (int(np.prod(shape)),)) and not (shape[-1] == 1 and found == shape[:-1]):
            raise self._violation(f"holds arrays of shape {list(found)}")
        self._missing(values.missing)
        return array.reshape(self._records, *shape)

    def _bounds(self, values: NDArray[Any]) -> None:
        minimum, maximum = self._column.minimum, self._column.maximum
        if minimum is not None:
            self._fault(
                values < minimum, lambda row: f"{values[row]!s} is too small; expected at least {minimum:g}"
            )
        if maximum is not None:
            self._fault(
                values > maximum, lambda row: f"{values[row]!s} is too large; expected at most {maximum:g}"
            )

    def _missing(self, missing: NDArray[np.bool_] | None) -> None:
        if missing is not None:
            self._fault(missing, lambda row: f"the value is missing; expected {self._expectation()}")

    def _fault(self, faulty: NDArray[np.bool_], reason: Callable[[int], str]) -> None:
        """Note a fault for every row where `faulty` is true and none is known yet."""
        if faulty.any():
            for row in np.flatnonzero(faulty).tolist():
                if row not in self.reasons:
                    self.reasons[row] = reason(row)

    def _not_allowed(self, value: object) -> str:
        allowed = ", ".join(self._column.values[:10]) + (", ..." if len(self._column.values) > 10 else "")
        return f"{value} is not an allowed value; expected one of {allowed}"

    def _expectation(self) -> str:
        article = "an" if self._column.type in (ColumnType.IMAGE, ColumnType.INTEGER) else "a"
        return f"{article} {self._column.type}"

    def _violation(self, found: str) -> SchemaViolation:
        shape = f" of shape {list(self._column.shape)}" if self._column.shape else ""
        name, expected = self._column.name, f"{self._expectation()}{shape}"
        return SchemaViolation(
            f"{self._file}: the column {name!r} {found}; the schema says {expected}",
            metadata={"file": self._file, "column": name, "expected": expected},
        )


def _all(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """By record, whether all of [n, ...] is true: bool [n]."""
    by_record: NDArray[np.bool_] = np.logical_and.reduce(values.reshape(len(values), -1), axis=1)
    return by_record


def _says_nan(cells: pa.StringArray) -> NDArray[np.bool_]:
    return pc.match_substring_regex(cells, r"(?i)^[+-]?nan$").to_numpy(zero_copy_only=False)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
