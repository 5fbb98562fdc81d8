"""What a front and the back share: memory, and the counters of its rings."""

import mmap
import os
from dataclasses import dataclass

__all__ = ["Shared", "Sizes"]

_COUNTERS = 4


@dataclass(frozen=True)
class Sizes:
    """What lies in the memory, once for each direction."""

    ring_bytes: int = 1 << 20
    """Of a ring: small, since it stays in the caches of processors as it goes round."""

    block_bytes: int = 64 << 20
    """For large messages. Memory that none ever needed takes no room."""


class Shared:
    """The memory, mapped into this process.

    Args:
        fds: of the memory, and of the counters: for the ring to the back what was written and read, then the
            same for the ring to the front. They are closed with it.
        sizes: what lies in it.
    """

    def __init__(self, fds: list[int], sizes: Sizes) -> None:
        self.fds = fds
        self.sizes = sizes
        self.memory = mmap.mmap(fds[0], 2 * (sizes.ring_bytes + sizes.block_bytes))
        self.view = memoryview(self.memory)
        self.counters = ((fds[1], fds[2]), (fds[3], fds[4]))

    @classmethod
    def create(cls, sizes: Sizes) -> "Shared":
        """Makes a memory.

        Raises:
            OSError: there is none.
        """
        fds = [os.memfd_create("relay")]
        try:
            os.ftruncate(fds[0], 2 * (sizes.ring_bytes + sizes.block_bytes))
            fds += (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(_COUNTERS))
            return cls(fds, sizes)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise

    def ring(self, direction: int) -> memoryview:
        """The ring to the back (0), or to the front (1)."""
        size = self.sizes.ring_bytes
        return self.view[direction * size : (direction + 1) * size]

    def first_block(self, direction: int) -> int:
        """Where the blocks of a direction begin."""
        return 2 * self.sizes.ring_bytes + direction * self.sizes.block_bytes

    def close(self) -> None:
        """Lets go. Blocks that somebody still reads stay until nobody does."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []
