"""What a worker may use of the machine it runs on."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux tells a container's limit, as microseconds of every so many; `max` without one."""
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""The same of memory, in bytes; `max` without one."""
_INPUT_SHARE = 4
"""Records may take one part in so many of the memory: the model, TensorFlow and the kernel need some too."""


def own_cores(*, peers: Sequence[str], index: int) -> int:
    """The cores for one worker, which shares the machine with its peers that run there too.

    TensorFlow sees a machine's cores, not those of a container's limit.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Where there is no limit there is no number either.
    with suppress(OSError, ValueError):
        quota, period = map(int, _CPU_LIMIT.read_text().split())
        cores = min(cores, math.ceil(quota / period))
    return max(1, cores // _at_one_place(peers, index))


def own_input_bytes(*, peers: Sequence[str], index: int) -> int:
    """The memory that one worker's records may take, which shares the machine in the same way."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        memory = min(memory, int(_MEMORY_LIMIT.read_text()))
    return memory // _INPUT_SHARE // _at_one_place(peers, index)


def _at_one_place(peers: Sequence[str], index: int) -> int:
    """How many of the workers, this one among them, run on its machine."""
    hosts = [peer.rpartition(":")[0] for peer in peers]
    return max(1, hosts.count(hosts[index]))
