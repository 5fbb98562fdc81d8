"""IDX, the format of MNIST and its kin: a magic number, the sizes, the big-endian values; plain or gzip.

Layout: two zero bytes, one byte of element type, one byte of dimensions, one big-endian uint32 for each
dimension, the data in row-major order.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from lepton_data_ingest.formats.records import (
    Numbers,
    RecordBatch,
    RecordFile,
    batch_records,
    check_record_size,
    malformed,
)

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8

GZIP_MAGIC = b"\x1f\x8b"
GZIP_MAX_RATIO = 1032
"""Deflate cannot shrink data further than this, so a length beyond it is a lie."""


@dataclass(frozen=True)
class IdxFile:
    """An IDX file whose header agrees with its length."""

    path: Path
    file: str
    """Its name, for messages."""
    dtype: np.dtype[np.generic]
    """Big-endian, as stored."""
    shape: tuple[int, ...]
    """[records, ...]."""

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


def matches(head: bytes) -> bool:
    """Whether a file that begins so is an IDX file."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _DTYPES and 1 <= head[3] <= _MAX_DIMENSIONS


def open_idx(path: Path, file: str) -> IdxFile:
    """Read and check the header.

    Args:
        path: the file.
        file: its name, for messages.

    Raises:
        MalformedFile: it is not IDX, or its length is not the one that its header declares.
        TooLarge: a single record is too large.
    """
    with _decompressed(path) as stream:
        head = _read(stream, 4, file=file, start=0)
        if not matches(head):
            expected = "two zero bytes, an element type and 1 to 8 dimensions"
            raise malformed(
                file, "byte 0", f"{head.hex(' ')!r} is not the start of an IDX file", expected=expected
            )
        sizes = _read(stream, 4 * head[3], file=file, start=4)
    shape = struct.unpack(f">{head[3]}I", sizes)
    header = IdxFile(path, file, np.dtype(_DTYPES[head[2]]), shape)
    if math.prod(shape[1:]) == 0:
        raise malformed(
            file, "byte 4", f"a record of shape {list(shape[1:])} is empty", expected="sizes of 1 or more"
        )
    check_record_size(file, header.record_bytes)
    _check_length(header, start=4 + len(sizes))
    return header


def read(files: Mapping[str, IdxFile]) -> RecordFile:
    """Read IDX files side by side, each as one column.

    Args:
        files: by column name.

    Raises:
        MalformedFile: the files hold different numbers of records.
    """
    first = next(iter(files.values()))
    for other in files.values():
        if other.shape[0] != first.shape[0]:
            expected = f"the {first.shape[0]} of {first.file}, which stands beside it"
            raise malformed(other.file, "byte 4", f"{other.shape[0]} records", expected=expected)
    return RecordFile(_side_by_side(files), total=first.shape[0])


def _side_by_side(files: Mapping[str, IdxFile]) -> Iterator[RecordBatch]:
    records = min(batch_records(file.record_bytes) for file in files.values())
    columns = [_values(file, records) for file in files.values()]
    place = 0
    for batch in zip(*columns, strict=True):
        count = len(batch[0])
        yield RecordBatch(dict(zip(files, batch, strict=True)), np.arange(place, place + count))
        place += count


def _values(header: IdxFile, records: int) -> Iterator[Numbers]:
    with _decompressed(header.path) as stream:
        start = 4 + 4 * len(header.shape)
        _read(stream, start, file=header.file, start=0)
        for place in range(0, header.shape[0], records):
            count = min(records, header.shape[0] - place)
            data = _read(
                stream,
                count * header.record_bytes,
                file=header.file,
                start=start + place * header.record_bytes,
            )
            values = np.frombuffer(data, header.dtype).reshape(count, *header.shape[1:])
            yield Numbers(values.astype(header.dtype.newbyteorder("="), copy=False))
        end = start + header.shape[0] * header.record_bytes
        # Reading to the end is also what makes gzip compare its checksum.
        if _up_to(stream, 1, file=header.file, start=end):
            raise malformed(header.file, f"byte {end}", "there is more data", expected="the end of the file")


def _check_length(header: IdxFile, *, start: int) -> None:
    """Compare the declared length with the real one; of a gzip file, with the longest it could have."""
    declared = start + header.shape[0] * header.record_bytes
    size = header.path.stat().st_size
    compressed = _is_gzip(header.path)
    if (declared > size * GZIP_MAX_RATIO) if compressed else (declared != size):
        sizes = " x ".join(map(str, header.shape))
        kept = f"{size} compressed bytes cannot hold them" if compressed else f"the file has {size}"
        raise malformed(
            header.file,
            "byte 4",
            f"the sizes {sizes} make {declared} bytes and {kept}",
            expected="sizes that fit",
        )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def _decompressed(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _read(stream: BinaryIO, size: int, *, file: str, start: int) -> bytes:
    data = _up_to(stream, size, file=file, start=start)
    if len(data) < size:
        expected = f"{size - len(data)} more bytes"
        raise malformed(file, f"byte {start + len(data)}", "the file ends", expected=expected)
    return data


def _up_to(stream: BinaryIO, size: int, *, file: str, start: int) -> bytes:
    try:
        return stream.read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = "the compressed data ends too early or is damaged"
        raise malformed(file, f"byte {start}", problem, expected="an intact gzip file") from error
