"""What this process may use of its machine.

Runtimes count the cores of the machine, and not those of a container's limit or of the process's own: a
model that ran on all of them would wait for its turn more than it ran.
"""

import math
import os
from pathlib import Path

_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux tells a container's limit: microseconds of every so many, or `max` of them."""
_OLDER_CPU_LIMIT = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
"""The older interface, where none is -1."""
_MEMORY_LIMITS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""The same of memory, in bytes, by either interface."""
# The older interface says "none" by a number that no machine has.
_NO_MEMORY_LIMIT = 1 << 60


def usable_cores() -> int:
    """The cores that this process may use, at least 1. A part of one is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _cpu_limit()
    return min(cores, math.ceil(quota / period)) if quota else cores


def memory_limit_bytes() -> int:
    """The memory that the container may use; 0 without a limit."""
    for path in _MEMORY_LIMITS:
        limit = _number(path)
        if limit:
            return limit if limit < _NO_MEMORY_LIMIT else 0
    return 0


def _cpu_limit() -> tuple[int, int]:
    """Microseconds of every so many; 0 without a limit."""
    try:
        quota, period = _CPU_LIMIT.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return _number(_OLDER_CPU_LIMIT[0]), max(1, _number(_OLDER_CPU_LIMIT[1]))
    return (int(quota) if quota.isdigit() else 0), int(period)


def _number(path: Path) -> int:
    """What a file holds; 0 where there is none, or no number in it."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
