"""Shared memory for large messages: written once, read where they lie.

A ring gives its room back in the order in which it was filled, so a message that stays in it for long would
stop all that follows. Blocks are given back in any order.
"""

import ctypes
import mmap
import weakref
from bisect import bisect_left
from collections import deque

__all__ = ["Lender", "Loans"]

# Blocks begin on pages: what one leaves behind is not seen through another.
_ALIGNED_BYTES = 4096


class Lender:
    """Hands out pieces of a memory, first fit.

    Args:
        size: of the memory.
    """

    def __init__(self, size: int) -> None:
        # Where the free pieces begin, in order, and their sizes.
        self._starts = [0]
        self._sizes = [size]
        self._lent: dict[int, int] = {}

    @property
    def lent_bytes(self) -> int:
        """What is in use."""
        return sum(self._lent.values())

    def take(self, size: int) -> int | None:
        """Takes a block; gives where it begins, or None if there is none of this size."""
        size = -(-size // _ALIGNED_BYTES) * _ALIGNED_BYTES
        for index, free in enumerate(self._sizes):
            if free >= size:
                start = self._starts[index]
                if free == size:
                    del self._starts[index], self._sizes[index]
                else:
                    self._starts[index] += size
                    self._sizes[index] -= size
                self._lent[start] = size
                return start
        return None

    def give_back(self, start: int) -> None:
        """Takes a block back, and joins it with what is free beside it.

        Raises:
            KeyError: no block begins there.
        """
        size = self._lent.pop(start)
        index = bisect_left(self._starts, start)
        if index < len(self._starts) and start + size == self._starts[index]:
            size += self._sizes[index]
            del self._starts[index], self._sizes[index]
        if index and self._starts[index - 1] + self._sizes[index - 1] == start:
            self._sizes[index - 1] += size
        else:
            self._starts.insert(index, start)
            self._sizes.insert(index, size)


class Loans:
    """The blocks of the other side, as they are read.

    Args:
        memory: all that is shared.
        first: where the blocks begin in it.
    """

    def __init__(self, memory: mmap.mmap, first: int) -> None:
        self._memory = memory
        self._first = first
        self.returned: deque[int] = deque()
        """Where blocks begin that nobody reads any more. Any thread may be the last that did."""

    def view(self, start: int, size: int) -> memoryview:
        """A block. It is returned when neither this view is left nor anything made from it."""
        owner = (ctypes.c_ubyte * size).from_buffer(self._memory, self._first + start)
        # Views, and arrays on them, hold the owner and not each other.
        weakref.finalize(owner, self.returned.append, start).atexit = False
        return memoryview(owner).cast("B").toreadonly()
