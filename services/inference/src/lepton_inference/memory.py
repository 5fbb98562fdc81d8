"""How much memory models take, and how much of it they may.

A model's need is measured: what the process has more of after it was loaded and has run on the largest
batch than before. That counts what no file says: activations, the arenas that hold them, weights that were
packed anew. It is a difference of two looks at the whole process, so requests that run meanwhile add to it;
a model is never taken to need less than its files hold.

Memory that was freed returns to the system only when the C library is told to: of a dropped model of 190 MB
it kept 160 MB for later (as triton-inference-server/server#7594 and microsoft/onnxruntime#26831 tell, too),
and to load it again and again took 630 MB for a moment. `trim` gives back what lies between blocks in use;
`keep_little` sees to what lies at the end of a thread's memory, which `trim` does not reach: with it loading
took 300 MB. The runtime's own arenas end with their session.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lepton_common.errors import Overloaded

RETRY_SECONDS = 1.0
"""After how long a model that did not fit may be tried again: others come and go."""

_MEGABYTE = 1_000_000
# Parameters of `mallopt`, out of malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_MOST_KEPT_BYTES = 8 << 20


class MemoryBudget:
    """What all models may take together of one kind of memory, 0 for no limit.

    `in_use` tells how many bytes of it are in use.
    """

    def __init__(self, budget_bytes: int = 0, *, in_use: Callable[[], int]) -> None:
        self.budget_bytes = budget_bytes
        self.in_use = in_use

    def check(self, name: str, needed_bytes: int, *, taken_bytes: int) -> None:
        """Whether a model fits beside those that have taken so much.

        Raises:
            Overloaded: it does not.
        """
        free_bytes = max(0, self.budget_bytes - taken_bytes)
        if self.budget_bytes and needed_bytes > free_bytes:
            raise Overloaded(
                f"{name} needs {_megabytes(needed_bytes)} of memory; {_megabytes(free_bytes)} of the "
                f"{_megabytes(self.budget_bytes)} that models may have are left",
                metadata={
                    "needed_bytes": str(needed_bytes),
                    "free_bytes": str(free_bytes),
                    "budget_bytes": str(self.budget_bytes),
                },
                retry_after_seconds=RETRY_SECONDS,
            )


def process_bytes() -> int:
    """Bytes of memory that are this process's own: no files, which the system can drop. 0 where unknown."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024 if "RssAnon" in lines else 0


def usual_budget(limit_bytes: int, used_bytes: int) -> int:
    """What models may have in a container with this limit in which so much is used before the first.

    A quarter is for requests, and for what loading needs for a moment. 0: there is no limit.
    """
    return max(1, limit_bytes * 3 // 4 - used_bytes) if limit_bytes else 0


def keep_little() -> None:
    """Lets the C library give larger blocks back to the system as soon as they are free.

    For the whole process. By itself it learns to keep blocks of up to 32 MB, of which large requests gain a
    little.
    """
    library = _c_library()
    if library is not None:
        for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            library.mallopt(parameter, _MOST_KEPT_BYTES)


def trim() -> None:
    """Gives the memory that nobody uses back to the system, where the C library can."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


@cache
def _c_library() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / _MEGABYTE:,.1f} MB"
