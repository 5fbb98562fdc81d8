"""The deadlines of calls that are not answered at once.

Calls whose deadlines are within the same hundredth of a second share a timer: setting one and taking it back
costs no more than a set's `add` and `discard`, where a timer of its own would cost as much as the answer.
"""

import asyncio
from collections.abc import Sequence
from math import ceil
from typing import Protocol

__all__ = ["Deadlines"]

_TICKS_PER_SECOND = 100
# Clients may ask for a century. Timers further away than this are looked at again.
_FURTHEST_SECONDS = 86_400.0


class Expiring(Protocol):
    """What has a deadline."""

    deadline: float | None
    bucket: set["Expiring"] | None
    """Where it stands; None for nowhere."""
    closed: bool
    """Whether it is over."""

    def expire(self) -> None:
        """Told when the deadline has passed."""


class Deadlines:
    """Deadlines on the clock of an event loop, `time.monotonic`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Expiring]] = {}
        self._pending: list[Expiring] = []

    def add(self, call: Expiring) -> None:
        """Has `expire` called when the call's deadline has passed. Taken back with `call.bucket.discard`."""
        assert call.deadline is not None
        tick = ceil(min(call.deadline, self._loop.time() + _FURTHEST_SECONDS) * _TICKS_PER_SECOND)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            self._loop.call_at(tick / _TICKS_PER_SECOND, self._expire, tick)
        bucket.add(call)
        call.bucket = bucket

    def add_soon(self, calls: Sequence[Expiring]) -> None:
        """Adds these within half a tick: those closed by then, as most are, need no timer."""
        if calls and not self._pending:
            self._loop.call_later(0.5 / _TICKS_PER_SECOND, self._add_open)
        self._pending += calls

    def _add_open(self) -> None:
        calls, self._pending = self._pending, []
        for call in calls:
            if not call.closed:
                self.add(call)

    def _expire(self, tick: int) -> None:
        now = self._loop.time()
        bucket = self._buckets.pop(tick)
        # What one is told may end others.
        while bucket:
            call = bucket.pop()
            call.bucket = None
            if call.deadline is not None and call.deadline > now:
                self.add(call)
            else:
                call.expire()
