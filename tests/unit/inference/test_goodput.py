"""More than a model can do, in a time of its own: every run takes exactly as long as the test says.

The batcher, its queue and asyncio's loop are real; the clock goes on when the loop would wait.
"""

import asyncio
import random
import selectors
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest

from lepton_common.errors import LeptonError
from lepton_inference.batcher import Batcher, BatchLimits
from lepton_inference.queued import DEFAULT_PRIORITY
from lepton_inference.statistics import Statistics
from lepton_inference.tensors import Array

T = TypeVar("T")

DEADLINE_SECONDS = 0.05
STORM_SECONDS = 2.0


class Clock(selectors.SelectSelector):
    """A clock that goes on instead of waiting."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """A loop in the time of its clock. What runs in a thread takes the time that it has told."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock = clock
        self._told: float | None = None

    def take(self, seconds: float) -> None:
        """Lets time pass where this is called: in the loop, or in a thread beside it."""
        if self._told is None:
            self.clock.now += seconds
        else:
            self._told += seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, function: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        self._told = 0.0
        result = function(*args)
        future: asyncio.Future[T] = self.create_future()
        self.call_later(self._told, future.set_result, result)
        self._told = None
        return future


@dataclass
class Model:
    """A run takes `fixed_ms` and `each_ms` for each record, more or less; one in a hundred `hiccups` times
    as long."""

    fixed_ms: float
    each_ms: float
    max_batch_size: int
    instances: int = 1
    spread: float = 0.05
    hiccups: float = 1.0
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    @property
    def capacity(self) -> float:
        """Records a second, in full batches."""
        run_ms = self.fixed_ms + self.each_ms * self.max_batch_size
        return 1e3 * self.instances * self.max_batch_size / run_ms

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        run_ms = self.fixed_ms + self.each_ms * len(inputs["x"])
        run_ms *= self.chance.lognormvariate(0, self.spread)
        loop.take(run_ms / 1e3 * (self.hiccups if self.chance.random() < 0.01 else 1.0))
        return {"y": inputs["x"]}


@dataclass
class Seen:
    """What became of the requests of one priority."""

    asked: int = 0
    seconds: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def in_time(self) -> int:
        return sum(seconds <= DEADLINE_SECONDS for seconds in self.seconds)

    def percentile(self, q: float) -> float:
        return float(np.percentile(self.seconds, q))


def in_virtual_time(main: Callable[[], Awaitable[T]], monkeypatch: pytest.MonkeyPatch) -> T:
    clock = Clock()
    with monkeypatch.context() as patch, asyncio.Runner(loop_factory=lambda: Loop(clock)) as runner:
        patch.setattr(time, "monotonic", lambda: clock.now)
        return runner.run(main())  # type: ignore[arg-type]


async def load(
    batcher: Batcher, *, rate: float, seconds: float, priorities: tuple[int, ...] = (DEFAULT_PRIORITY,)
) -> dict[int, Seen]:
    """Asks by chance, so often a second; all of it with the same time to live."""
    chance = random.Random(1)
    seen = {priority: Seen() for priority in priorities}
    inputs = {"x": np.zeros((1, 1), np.float32)}

    async def ask(priority: int) -> None:
        began = time.monotonic()
        seen[priority].asked += 1
        try:
            await batcher.infer(inputs, 1, deadline=began + DEADLINE_SECONDS, priority=priority)
        except LeptonError as error:
            seen[priority].reasons.append(error.reason)
        else:
            seen[priority].seconds.append(time.monotonic() - began)

    due = time.monotonic()
    end = due + seconds
    async with asyncio.TaskGroup() as group:
        while (due := due + chance.expovariate(rate)) < end:
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            group.create_task(ask(chance.choice(priorities)))
    return seen


def overload(
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    *,
    times: float,
    priorities: tuple[int, ...] = (DEFAULT_PRIORITY,),
) -> tuple[dict[int, Seen], Seen]:
    """What became of requests under overload, and under little load a second after."""

    async def main() -> tuple[dict[int, Seen], Seen]:
        limits = BatchLimits(max_batch_size=model.max_batch_size)
        batcher = Batcher(model, limits, statistics=Statistics(), instances=model.instances)
        await load(batcher, rate=times * model.capacity, seconds=0.5)
        storm = await load(batcher, rate=times * model.capacity, seconds=STORM_SECONDS, priorities=priorities)
        await asyncio.sleep(1)
        calm = await load(batcher, rate=0.2 * model.capacity, seconds=1.0)
        await batcher.drain()
        return storm, calm[DEFAULT_PRIORITY]

    return in_virtual_time(main, monkeypatch)


MODELS = {
    "a run in the loop": Model(0, 0.9, 1),
    "runs of a few milliseconds": Model(2, 0.5, 16),
    "no gain from batches": Model(0, 5, 1),
    "nearly no gain from batches": Model(0, 1.2, 16),
    "all gain from batches": Model(20, 0.2, 32),
    "large batches": Model(2, 0.4, 64),
    "two instances": Model(3, 1, 8, instances=2),
    "four instances": Model(5, 0, 4, instances=4),
}


@pytest.mark.parametrize("case", MODELS)
def test_three_times_the_capacity_leaves_it_to_those_that_can_be_met(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS[case]
    storm, calm = overload(model, monkeypatch, times=3.0)
    seen = storm[DEFAULT_PRIORITY]
    assert seen.in_time / STORM_SECONDS >= 0.9 * model.capacity
    assert seen.percentile(99) <= DEADLINE_SECONDS
    # Nearly all others were refused at once, and not when their time was over.
    assert seen.reasons.count("OVERLOADED") >= 0.9 * len(seen.reasons)
    assert calm.in_time >= 0.95 * calm.asked


def test_runs_that_take_longer_now_and_then_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(2, 0.5, 16, spread=0.15, hiccups=3.0)
    storm, calm = overload(model, monkeypatch, times=3.0)
    seen = storm[DEFAULT_PRIORITY]
    assert seen.in_time / STORM_SECONDS >= 0.85 * model.capacity
    assert seen.in_time >= 0.95 * len(seen.seconds)
    assert calm.in_time >= 0.9 * calm.asked


def test_a_model_that_was_only_asked_for_single_records_is_given_full_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two runs do not fit into the deadline if a second record is feared to take as long as the first."""
    model = Model(30, 0.1, 16)
    seen = overload(model, monkeypatch, times=3.0)[0][DEFAULT_PRIORITY]
    assert seen.in_time / STORM_SECONDS >= 0.6 * model.capacity


def test_the_highest_priority_is_served_as_if_there_were_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(2, 0.5, 16)
    storm, _ = overload(model, monkeypatch, times=2.4, priorities=(1, 3, 5))
    high, middle, low = storm[1], storm[3], storm[5]
    assert high.in_time >= 0.98 * high.asked
    assert high.in_time > 2 * middle.in_time > 2 * low.in_time
    assert sum(seen.in_time for seen in storm.values()) / STORM_SECONDS >= 0.9 * model.capacity


def test_no_priority_is_starved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that can wait are answered, though higher ones could take all of the model."""

    async def main() -> tuple[int, int]:
        model = Model(0, 5, 1)
        batcher = Batcher(model, BatchLimits(max_batch_size=1), statistics=Statistics())
        patient = [
            asyncio.ensure_future(batcher.infer({"x": np.zeros((1, 1), np.float32)}, 1, priority=5))
            for _ in range(20)
        ]
        high = await load(batcher, rate=3 * model.capacity, seconds=2.0, priorities=(1,))
        answered = sum(request.done() for request in patient)
        await batcher.drain()
        return answered, high[1].in_time

    answered, high = in_virtual_time(main, monkeypatch)
    assert answered == 20
    assert high >= 0.8 * (2.0 * 200 - 20)
