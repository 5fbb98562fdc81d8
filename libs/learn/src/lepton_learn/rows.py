"""The features of records as rows of bytes, of one size each: what a training gathers from at random.

A row lies in memory, or in a scratch file on the local disk. The kernel keeps of that what it has room for,
and gives it up when others ask: it does not count as memory of the process.
"""

import errno
import os
import tempfile
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import TooLarge
from lepton_learn.reading import empty_batch
from lepton_learn.schema import Batch, ColumnType
from lepton_learn.transform import FittedTransform

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Layout:
    """What stands in a row: the inputs of a model, or what they are made of when they are asked for."""

    transform: FittedTransform
    """The dataset's."""
    transformed: bool
    """Whether it is the inputs, float32; otherwise columns as `FittedTransform.coded` gives them."""

    @classmethod
    def of(cls, transform: FittedTransform, records: int, *, limit_bytes: int) -> "Layout":
        """The layout for so many records.

        Inputs are transformed once, if they take at most `limit_bytes`, or no more than the columns do. A
        single image stays as bytes, a quarter of its size as float32.
        """
        coded, transformed = cls(transform, False), cls(transform, True)
        features = transform.schema.features
        one_image = len(features) == 1 and features[0].type is ColumnType.IMAGE
        fits = not one_image and records * transformed.row_bytes <= limit_bytes
        return transformed if fits or transformed.row_bytes <= coded.row_bytes else coded

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        if self.transformed:
            return np.dtype((np.float32, self.transform.input_shape))
        codes = self.transform.coded(empty_batch(self.transform.schema))
        formats = [(values.dtype, values.shape[1:]) for values in codes.values()]
        return np.dtype({"names": [*codes], "formats": formats}, align=True)

    @property
    def row_bytes(self) -> int:
        """Length of a row."""
        return self._dtype.itemsize

    def pack(self, records: Batch) -> NDArray[np.uint8]:
        """The rows [n, row_bytes] of raw records."""
        if self.transformed:
            inputs = np.ascontiguousarray(self.transform.inputs(records))
            return inputs.view(np.uint8).reshape(len(inputs), self.row_bytes)
        columns = self.transform.coded(records)
        rows = np.zeros(len(next(iter(columns.values()))), self._dtype)
        for name, values in columns.items():
            rows[name] = values
        return rows.view(np.uint8).reshape(len(rows), self.row_bytes)

    def unpack(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The inputs float32 [n, *input_shape] of rows [n, row_bytes], contiguous."""
        if self.transformed:
            return rows.view(np.float32).reshape(len(rows), *self.transform.input_shape)
        records = rows.view(self._dtype)[:, 0]
        return self.transform.inputs_of_codes({name: records[name] for name in self._dtype.names or ()})


class Rows(Protocol):
    """Rows by their places, from 0."""

    def write(self, start: int, rows: NDArray[np.uint8]) -> None:
        """Set rows [n, row_bytes] from a place on; different places may be written at once."""

    def take(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy [n, row_bytes] of the rows at n places."""


class MemoryRows:
    """Rows in memory."""

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        """Take these rows [n, row_bytes]."""
        self._rows = rows

    def write(self, start: int, rows: NDArray[np.uint8]) -> None:
        """Set rows from a place on."""
        self._rows[start : start + len(rows)] = rows

    def take(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of the rows at these places."""
        return self._rows.take(places, axis=0)


class ScratchRows:
    """Rows in a file without a name, which is gone with the process however that ends."""

    def __init__(self, directory: Path, count: int, row_bytes: int) -> None:
        """Make a file for so many rows in a folder on a local disk."""
        self._row_bytes = row_bytes
        self._total_bytes = count * row_bytes
        self._handle, name = tempfile.mkstemp(dir=directory)
        weakref.finalize(self, os.close, self._handle)
        os.unlink(name)

    def write(self, start: int, rows: NDArray[np.uint8]) -> None:
        """Set rows from a place on.

        Raises:
            TooLarge: the disk is full.
        """
        rest = memoryview(rows.tobytes())
        offset = start * self._row_bytes
        while rest:
            try:
                written = os.pwrite(self._handle, rest, offset)
            except OSError as error:
                raise _too_large(error, self._total_bytes) from error
            rest, offset = rest[written:], offset + written

    def take(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of the rows at these places."""
        # One read for each takes a microsecond. What is looked at in a mapped file counts as memory of the
        # process, up to a huge page around every row, and so the whole file does before an epoch is over.
        offsets = (places * self._row_bytes).tolist()
        found = bytearray().join([os.pread(self._handle, self._row_bytes, offset) for offset in offsets])
        return np.frombuffer(found, np.uint8).reshape(len(places), self._row_bytes)


def _too_large(error: OSError, wanted_bytes: int) -> Exception:
    if error.errno not in _FULL:
        return error
    return TooLarge(
        f"the records take {wanted_bytes} bytes of the worker's local disk, which is full before that: "
        "give it a larger one, or let it hold the records in memory",
        metadata={"wanted_bytes": str(wanted_bytes)},
    )
