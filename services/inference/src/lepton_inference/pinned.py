"""Arrays in page-locked memory, which a GPU copies from and to without the CPU's help.

To lock memory costs more than a small run of a model, so what is given back is kept for the next.
"""

import ctypes
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from lepton_inference.tensors import Array

_SMALLEST_BYTES = 4096
# Of one size: more than a model has on the way.
_MOST_KEPT = 8


class PinnedMemory:
    """Makes arrays out of memory from `allocate`; it returns when the last view of an array is gone.

    What has returned is kept for the next array, until `close`. May be used from any thread: what several of
    them touch are queues alone.
    """

    def __init__(self, allocate: Callable[[int], int], free: Callable[[int], None]) -> None:
        self._allocate = allocate
        self._free = free
        self._kept: defaultdict[int, deque[int]] = defaultdict(deque)
        self._closed = False

    def empty(self, shape: Sequence[int], dtype: "np.dtype[np.generic]") -> Array:
        """An array as `numpy.empty` makes it; of ordinary memory for objects, and where there is no other."""
        if dtype.hasobject:
            return np.empty(shape, dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        block_bytes = max(_SMALLEST_BYTES, 1 << (size - 1).bit_length()) if size else _SMALLEST_BYTES
        try:
            address = self._kept[block_bytes].pop()
        except IndexError:
            try:
                address = self._allocate(block_bytes)
            except MemoryError:
                return np.empty(shape, dtype)
        block = (ctypes.c_char * block_bytes).from_address(address)
        # Every view of the array keeps the block alive.
        finalizer = weakref.finalize(block, self._give_back, address, block_bytes)
        finalizer.atexit = False
        return np.ndarray(tuple(shape), dtype, buffer=memoryview(block))

    def close(self) -> None:
        """Frees what is kept, and from now on what returns."""
        self._closed = True
        for kept in [*self._kept.values()]:
            # Somebody may take one meanwhile.
            with suppress(IndexError):
                while True:
                    self._free(kept.popleft())

    def _give_back(self, address: int, block_bytes: int) -> None:
        kept = self._kept[block_bytes]
        if len(kept) < _MOST_KEPT and not self._closed:
            kept.append(address)
        else:
            self._free(address)
