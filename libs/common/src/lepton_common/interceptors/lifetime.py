"""When calls may begin, and how long they may take."""

import asyncio
from typing import Any

from lepton_common.errors import DeadlineExceeded, ShuttingDown
from lepton_common.interceptors.call import Call, Proceed

# A server is quiet when no call has come for so long.
_QUIET_SECONDS = 0.1


class Lifetime:
    """Gives unary calls without a deadline one, and lets a server finish what is in flight.

    Args:
        default_deadline_seconds: for unary calls whose caller set none. Streams have none: a watch lasts as
            long as what it watches.
    """

    def __init__(self, default_deadline_seconds: float) -> None:
        self._default_deadline_seconds = default_deadline_seconds
        self._in_flight: dict[Call, asyncio.Timeout] = {}
        self._changed = asyncio.Event()
        self._refused_at = float("-inf")
        self._draining = False

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        """Runs the call within its deadline, or refuses it.

        Raises:
            ShuttingDown: the server drains, and the call is new, endless, or took too long to end.
            DeadlineExceeded: the default deadline passed. Of a deadline of the caller's own gRPC takes care.
        """
        if call.method.permission is None:
            return await proceed()
        if self._draining:
            self._refused_at = asyncio.get_running_loop().time()
            raise ShuttingDown("the server is shutting down; call again")
        limit = asyncio.timeout(self._limit_seconds(call))
        try:
            async with limit:
                self._in_flight[call] = limit
                try:
                    return await proceed()
                finally:
                    del self._in_flight[call]
                    self._changed.set()
        except TimeoutError:
            if not limit.expired():
                raise
        if self._draining:
            raise ShuttingDown("the server shut down before the call was done; call again")
        raise DeadlineExceeded(f"not done within {self._default_deadline_seconds:g} s")

    def _limit_seconds(self, call: Call) -> float | None:
        method = call.method
        if method.client_streaming or method.server_streaming or call.context.time_remaining() is not None:
            return None
        return self._default_deadline_seconds

    async def drain(self, seconds: float, *, cut_seconds: float = 2.0) -> None:
        """Refuses new calls, ends endless ones, and waits for the others, and until no new ones come.

        Callers have heard by then that they should go elsewhere; a call that comes while gRPC itself shuts
        down would be cut off instead of refused, and not be made again.

        Args:
            seconds: how long calls in flight may go on; then they are ended too.
            cut_seconds: how long the ending itself may take.
        """
        self._draining = True
        self._end([call for call in self._in_flight if call.method.endless])
        await self._wait_until_idle(seconds)
        self._end(list(self._in_flight))
        await self._wait_until_idle(cut_seconds)
        await self._wait_until_quiet(_QUIET_SECONDS, at_most_seconds=cut_seconds)

    def _end(self, calls: list[Call]) -> None:
        now = asyncio.get_running_loop().time()
        for call in calls:
            limit = self._in_flight[call]
            if not limit.expired():
                limit.reschedule(now)

    async def _wait_until_quiet(self, seconds: float, *, at_most_seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        while (left := max(began, self._refused_at) + seconds - clock()) > 0:
            if clock() - began > at_most_seconds:
                return
            await asyncio.sleep(left)

    async def _wait_until_idle(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._in_flight:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
