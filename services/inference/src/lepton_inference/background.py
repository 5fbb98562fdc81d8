"""Work that must not keep others from the cores."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import get_native_id
from typing import TypeVar

T = TypeVar("T")

# A tenth of the weight of other threads. Less would let one that waits for the interpreter's lock wait long.
_NICENESS = 10


class Background:
    """A thread which the others of this process go before.

    Threads that its work starts give way, too, and cannot be made not to. Elsewhere than on Linux, where
    niceness is not a thread's own, it has that of the others.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="background", initializer=_give_way)

    def run(self, work: Callable[[], T]) -> T:
        """Has it do some work, and waits for that."""
        return self._thread.submit(work).result()


def _give_way() -> None:
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICENESS)
