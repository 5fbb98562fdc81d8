"""The loop of a controller."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from lepton_common.errors import DependencyUnavailable
from lepton_common.jobs.rounds import Followed, Rounds

POLL_SECONDS = 0.01


class Counting:
    """Things that count their steps, each of which is taken by `step`."""

    def __init__(self, *names: str, step: Callable[[str], Awaitable[int]]) -> None:
        self.followed = {name: Followed() for name in names}
        self.taken = dict.fromkeys(names, 0)
        self.looks = 0
        self._step = step
        self.rounds = Rounds(
            self.followed, look=self._look, take_steps=self._take_steps, poll_seconds=POLL_SECONDS
        )

    async def _look(self) -> None:
        self.looks += 1
        if self.looks == 1:
            raise DependencyUnavailable("the database does not answer")

    def _take_steps(self) -> None:
        for name, entry in self.followed.items():
            if entry.free(time.monotonic()):
                self.rounds.take(name, entry, partial(self._step, name), then=self._counted(name))

    def _counted(self, name: str) -> Callable[[int], None]:
        def count(steps: int) -> None:
            self.taken[name] += steps

        return count


@asynccontextmanager
async def running(counting: Counting) -> AsyncIterator[None]:
    task = asyncio.create_task(counting.rounds.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


async def one(name: str) -> int:
    return 1


async def test_rounds_go_on_when_a_store_does_not_answer() -> None:
    counting = Counting("a", "b", step=one)
    async with running(counting):
        await eventually(lambda: counting.looks > 2 and min(counting.taken.values()) > 2)


async def test_a_step_that_fails_holds_up_nothing_but_itself() -> None:
    async def step(name: str) -> int:
        if name == "unavailable":
            raise DependencyUnavailable("the registry does not answer")
        return 1 // (name != "faulty")

    counting = Counting("faulty", "unavailable", "sound", step=step)
    async with running(counting):
        await eventually(lambda: counting.taken["sound"] > 5)
        await eventually(
            lambda: min(counting.followed[name].failures for name in ("faulty", "unavailable")) > 1
        )
    assert (
        counting.taken["faulty"] == counting.taken["unavailable"] == counting.followed["sound"].failures == 0
    )


async def test_what_was_cut_off_is_taken_up_by_the_next_run() -> None:
    begun = asyncio.Event()

    async def step(name: str) -> int:
        begun.set()
        await asyncio.sleep(0 if counting.looks > 50 else 600)
        return 1

    counting = Counting("a", step=step)
    async with running(counting):
        await begun.wait()
    assert counting.followed["a"].step is None
    counting.looks = 100
    async with running(counting):
        await eventually(lambda: counting.taken["a"])


async def test_a_step_that_had_no_time_to_begin_is_not_waited_for() -> None:
    counting = Counting("a", step=one)
    task = asyncio.create_task(counting.rounds.run())
    while counting.followed["a"].step is None:
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert counting.followed["a"].step is None
    async with running(counting):
        await eventually(lambda: counting.taken["a"])
