"""The features of records as rows of bytes, of one size each: what a training gathers from at random.

A row lies in memory, or in a scratch file on the local disk that any process needs little memory to read:
the kernel keeps as much of it in memory as is free, and gives that up when others ask.
"""

import errno
import mmap
import os
import tempfile
import threading
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

_AROUND_BYTES = 2 * 64 * 1024
"""What a look at one row may bring into the process beside it: Linux maps 64 KiB around an address, and a
row may lie in two of those."""
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
            return inputs.reshape(len(inputs), -1).view(np.uint8)
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

    def __init__(self, directory: Path, count: int, row_bytes: int, *, resident_bytes: int) -> None:
        """Reserve room for rows.

        Args:
            directory: on a local disk.
            count: how many rows, at least one.
            row_bytes: length of each.
            resident_bytes: how much of the file may count as this process's memory at a time.

        Raises:
            TooLarge: the disk has no room for them.
        """
        self._shape = (count, row_bytes)
        self._resident_bytes = resident_bytes
        self._seen_bytes = 0
        self._looking = threading.Lock()
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)
        weakref.finalize(self, self._file.close)
        try:
            self._file.truncate(count * row_bytes)
        except OSError as error:
            raise _too_large(error, count * row_bytes) from error
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8).reshape(self._shape)

    def write(self, start: int, rows: NDArray[np.uint8]) -> None:
        """Set rows from a place on.

        Raises:
            TooLarge: the disk is full.
        """
        count, row_bytes = self._shape
        rest = memoryview(np.ascontiguousarray(rows).reshape(-1))
        offset = start * row_bytes
        while rest:
            try:
                written = os.pwrite(self._file.fileno(), rest, offset)
            except OSError as error:
                raise _too_large(error, count * row_bytes) from error
            rest, offset = rest[written:], offset + written

    def take(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of the rows at these places."""
        row_bytes = self._shape[1]
        taken = np.empty((len(places), row_bytes), np.uint8)
        most = max(1, self._resident_bytes // (row_bytes + _AROUND_BYTES))
        with self._looking:
            for start in range(0, len(places), most):
                part = places[start : start + most]
                self._make_room(len(part) * (row_bytes + _AROUND_BYTES))
                taken[start : start + most] = self._rows.take(part, axis=0)
        return taken

    def _make_room(self, wanted_bytes: int) -> None:
        """Let go of what was looked at, without which the whole file would count as memory after an epoch."""
        if self._seen_bytes + wanted_bytes > self._resident_bytes:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._seen_bytes = 0
        self._seen_bytes += wanted_bytes


def _too_large(error: OSError, wanted_bytes: int) -> Exception:
    if error.errno not in _FULL:
        return error
    return TooLarge(
        f"the records take {wanted_bytes} bytes of the worker's local disk, which is full before that: "
        "give it a larger one, or let it hold the records in memory",
        metadata={"wanted_bytes": str(wanted_bytes)},
    )
