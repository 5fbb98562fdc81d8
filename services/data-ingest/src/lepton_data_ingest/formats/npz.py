"""NumPy's `.npz`: a zip of `.npy` arrays, one per column, whose first axis counts the records.

Arrays are read a few records at a time straight from the archive, so neither a header's claim nor a well
compressed archive decides how much memory is taken. Nothing is ever unpickled.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lepton_common.errors import TooLarge
from lepton_data_ingest.formats.idx import GZIP_MAX_RATIO
from lepton_data_ingest.formats.records import (
    Numbers,
    RecordBatch,
    RecordFile,
    Texts,
    Values,
    batch_records,
    check_columns,
    check_record_size,
    column_names,
    malformed,
)

MAX_REORDERED_BYTES = 256 * 1024 * 1024
"""An array in Fortran order has no record in one piece, so it is read whole, up to this size."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


@dataclass(frozen=True)
class _Array:
    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int
    """Bytes of the header."""

    @property
    def record_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


def read(path: Path, file: str, *, columns: Sequence[str] | None = None) -> RecordFile:
    """Open an archive of arrays.

    Args:
        path: the file.
        file: its name, for messages.
        columns: the ones to read; None for all.

    Raises:
        MalformedFile: it is not a zip of plain arrays of one length, or declares sizes it does not have.
        SchemaViolation: a column is not there.
        TooLarge: a single record is too large.
    """
    with _damage(file, "the archive"), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        if not members:
            raise malformed(
                file, "byte 0", "the archive holds no array", expected="one .npy member for each column"
            )
        names = column_names(file, [member.filename.removesuffix(".npy") for member in members])
        check_columns(file, names, columns)
        arrays = {
            name: _header(archive, member, file=file)
            for name, member in zip(names, members, strict=True)
            if columns is None or name in columns
        }
    total = _common_length(file, arrays)
    return RecordFile(_batches(path, file, arrays), total=total)


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, file: str) -> _Array:
    place = f"array {member.filename!r}"
    if member.flag_bits & 1:
        raise malformed(file, place, "it is encrypted", expected="a plain zip member")
    with _damage(file, place), archive.open(member) as stream:
        try:
            read_header = _HEADERS[np.lib.format.read_magic(stream)]
            shape, fortran_order, dtype = read_header(stream)
        except (ValueError, KeyError) as error:
            raise malformed(file, place, "its header is not readable", expected="a .npy array") from error
        array = _Array(member, shape, fortran_order, dtype, stream.tell())
    if dtype.kind not in "biufU":
        raise malformed(
            file, place, f"it has dtype {dtype}", expected="numbers, booleans or texts, never objects"
        )
    if not shape or array.record_bytes == 0 or (dtype.kind == "U" and len(shape) > 1):
        raise malformed(file, place, f"it has shape {list(shape)}", expected="records along the first axis")
    check_record_size(file, array.record_bytes)
    declared = array.start + shape[0] * array.record_bytes
    if declared != member.file_size or declared > max(1, member.compress_size) * GZIP_MAX_RATIO:
        problem = (
            f"shape {list(shape)} of {dtype} makes {declared} bytes, and the member has {member.file_size}"
            f" in {member.compress_size} compressed"
        )
        raise malformed(file, place, problem, expected="a shape that fits the data")
    if _is_reordered(array) and declared > MAX_REORDERED_BYTES:
        raise TooLarge(
            f"{file}: {place} is in Fortran order and has {declared} bytes; at most"
            f" {MAX_REORDERED_BYTES} can be read so: store numpy.ascontiguousarray of it",
            metadata={"file": file, "limit_bytes": str(MAX_REORDERED_BYTES), "size_bytes": str(declared)},
        )
    return array


def _common_length(file: str, arrays: Mapping[str, _Array]) -> int:
    lengths = {array.shape[0]: name for name, array in arrays.items()}
    if len(lengths) > 1:
        counts = ", ".join(f"{name} has {array.shape[0]}" for name, array in arrays.items())
        raise malformed(
            file, "the arrays", f"they differ in length: {counts}", expected="one length for all columns"
        )
    return next(iter(lengths))


def _batches(path: Path, file: str, arrays: Mapping[str, _Array]) -> Iterator[RecordBatch]:
    records = min(batch_records(array.record_bytes) for array in arrays.values())
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        streams = [_values(archive, array, records, file=file) for array in arrays.values()]
        place = 0
        for batch in zip(*streams, strict=True):
            count = len(batch[0])
            yield RecordBatch(dict(zip(arrays, batch, strict=True)), np.arange(place, place + count))
            place += count


def _values(archive: zipfile.ZipFile, array: _Array, records: int, *, file: str) -> Iterator[Values]:
    place = f"array {array.member.filename!r}"
    with _damage(file, place), archive.open(array.member) as stream:
        _exactly(stream, array.start, file=file, place=place)
        if _is_reordered(array):
            whole = np.frombuffer(
                _exactly(stream, array.shape[0] * array.record_bytes, file=file, place=place), array.dtype
            ).reshape(array.shape, order="F")
            for start in range(0, array.shape[0], records):
                yield _column(np.ascontiguousarray(whole[start : start + records]), file=file, place=place)
        else:
            for start in range(0, array.shape[0], records):
                count = min(records, array.shape[0] - start)
                data = _exactly(stream, count * array.record_bytes, file=file, place=place)
                values = np.frombuffer(data, array.dtype).reshape(count, *array.shape[1:])
                yield _column(values, file=file, place=place)
        # Reading to the end is what makes zipfile compare the member's checksum.
        stream.read(1)


def _column(values: NDArray[Any], *, file: str, place: str) -> Values:
    if values.dtype.kind == "U":
        try:
            return Texts(pa.array(values.tolist(), pa.string()))
        except ValueError as error:
            raise malformed(file, place, "a text is not valid Unicode", expected="Unicode texts") from error
    return Numbers(values.astype(values.dtype.newbyteorder("="), copy=False))


def _is_reordered(array: _Array) -> bool:
    return array.fortran_order and len(array.shape) > 1


def _exactly(stream: IO[bytes], size: int, *, file: str, place: str) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise malformed(file, place, "it ends too early", expected=f"{size - len(data)} more bytes")
    return data


@contextmanager
def _damage(file: str, place: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise malformed(file, place, "it is damaged", expected="an intact zip archive") from error
