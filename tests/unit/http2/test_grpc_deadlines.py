"""Deadlines that share timers."""

import asyncio
from collections.abc import Callable
from typing import Any

from lepton_http2.grpc.deadlines import Deadlines


class Waiting:
    """Waits until its deadline."""

    def __init__(self, deadline: float, expire: Callable[[], None]) -> None:
        self.deadline: float | None = deadline
        self.bucket: set[Any] | None = None
        self.closed = False
        self.expire = expire


async def test_each_is_told_when_its_deadline_has_passed_and_not_before() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    late: list[float] = []
    done = asyncio.Event()
    now = loop.time()

    def lateness(deadline: float) -> Callable[[], None]:
        return lambda: late.append(loop.time() - deadline)

    for number in range(50):
        deadlines.add(Waiting(now + number / 200, lateness(now + number / 200)))
    deadlines.add(Waiting(now + 0.3, done.set))
    await asyncio.wait_for(done.wait(), 60)
    assert len(late) == 50
    assert min(late) >= 0


async def test_one_that_is_taken_back_is_not_told() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    told: list[str] = []
    done = asyncio.Event()
    first = Waiting(loop.time() + 0.05, lambda: told.append("first"))
    deadlines.add(first)
    assert first.bucket is not None
    first.bucket.discard(first)
    deadlines.add(Waiting(loop.time() + 0.1, done.set))
    await asyncio.wait_for(done.wait(), 60)
    assert told == []


async def test_one_may_end_another_of_the_same_time() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    done = asyncio.Event()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    pair: list[Waiting] = []

    def expire() -> None:
        for other in pair:
            if other.bucket is not None:
                other.bucket.discard(other)
        done.set()

    moment = loop.time() + 0.05
    pair += [Waiting(moment, expire) for _ in range(10)]
    for waiting in pair:
        deadlines.add(waiting)
    await asyncio.wait_for(done.wait(), 60)
    assert failures == []


async def test_a_century_is_no_problem() -> None:
    loop = asyncio.get_running_loop()
    waiting = Waiting(loop.time() + 4e9, lambda: None)
    Deadlines(loop).add(waiting)
    assert waiting.bucket == {waiting}
