"""When calls may begin, and how long they may take."""

import asyncio
from typing import Any, Protocol

from lepton_common.errors import DeadlineExceeded, LeptonError, ShuttingDown
from lepton_common.interceptors.call import Call, Proceed

# A server is quiet when no call has come for so long.
_QUIET_SECONDS = 0.1

# How often calls without a task are looked at for those that take too long.
_LOOK_SECONDS = 1.0


class Taskless(Protocol):
    """A unary call that no task answers."""

    arrived: float
    """On the clock of the event loop."""

    @property
    def has_deadline(self) -> bool:
        """Whether its caller set one, of which the transport takes care."""

    def end(self, error: LeptonError) -> None:
        """Ends it before it is answered."""


class Lifetime:
    """Gives unary calls without a deadline one, and lets a server finish what is in flight.

    Args:
        default_deadline_seconds: for unary calls whose caller set none. Streams have none: a watch lasts as
            long as what it watches.
    """

    def __init__(self, default_deadline_seconds: float) -> None:
        self._default_deadline_seconds = default_deadline_seconds
        self._in_flight: dict[Call, asyncio.Timeout] = {}
        self._taskless: dict[Taskless, None] = {}
        self._look: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._refused_at = float("-inf")
        self.draining = False
        """Whether new calls are refused."""

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        """Runs the call within its deadline, or refuses it.

        Raises:
            ShuttingDown: the server drains, and the call is new, endless, or took too long to end.
            DeadlineExceeded: the default deadline passed. Of a deadline of the caller's own gRPC takes care.
        """
        if call.method.permission is None:
            return await proceed()
        if self.draining:
            self._refused_at = asyncio.get_running_loop().time()
            raise _not_taken()
        limit = asyncio.timeout(self._limit_seconds(call))
        try:
            async with limit:
                self._in_flight[call] = limit
                try:
                    answer = await proceed()
                finally:
                    del self._in_flight[call]
                    self._changed.set()
                if call.cut_short:
                    # What it read is answered. What it did not read is to be sent again.
                    raise _not_taken()
                return answer
        except TimeoutError:
            if not limit.expired():
                raise
        if self.draining:
            raise _cut_off()
        raise self._overdue()

    def begin(self, call: Taskless) -> None:
        """Takes a call that no task answers, while the server does not drain."""
        self._taskless[call] = None
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._end_overdue)

    def finished(self, call: Taskless) -> None:
        """Says that a call which no task answers has ended."""
        del self._taskless[call]
        if self.draining:
            self._changed.set()

    def _end_overdue(self) -> None:
        loop = asyncio.get_running_loop()
        latest = loop.time() - self._default_deadline_seconds
        # In the order in which they came.
        for call in list(self._taskless):
            if call.arrived > latest:
                break
            if not call.has_deadline:
                call.end(self._overdue())
        self._look = loop.call_later(_LOOK_SECONDS, self._end_overdue) if self._taskless else None

    def _overdue(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"not done within {self._default_deadline_seconds:g} s")

    def _limit_seconds(self, call: Call) -> float | None:
        method = call.method
        if method.client_streaming or method.server_streaming or call.context.time_remaining() is not None:
            return None
        return self._default_deadline_seconds

    async def drain(self, seconds: float, *, cut_seconds: float = 2.0) -> None:
        """Refuses new calls, ends endless ones, and waits for the others, and until no new ones come.

        Of a stream of requests that are answered one by one no more are taken; those that were are answered.

        Callers have heard by then that they should go elsewhere; a call that comes while gRPC itself shuts
        down would be cut off instead of refused, and not be made again.

        Args:
            seconds: how long calls in flight may go on; then they are ended too.
            cut_seconds: how long the ending itself may take.
        """
        self.draining = True
        self._end([call for call in self._in_flight if call.method.endless])
        for stream in self._in_flight:
            if stream.method.client_streaming and stream.method.server_streaming:
                stream.end_requests()
        await self._wait_until_idle(seconds)
        self._end(list(self._in_flight))
        for call in list(self._taskless):
            call.end(_cut_off())
        await self._wait_until_idle(cut_seconds)
        if self._look is not None:
            self._look.cancel()
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
                while self._in_flight or self._taskless:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return


def _not_taken() -> ShuttingDown:
    return ShuttingDown("the server is shutting down; call again")


def _cut_off() -> ShuttingDown:
    return ShuttingDown("the server shut down before the call was done; call again")
