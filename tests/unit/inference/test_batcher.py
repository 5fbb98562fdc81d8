"""The queue in front of a model: batches, bounds, deadlines, cancellation, drain."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest

from lepton_common.errors import DeadlineExceeded, InvalidModel, LeptonError, Overloaded, ShuttingDown
from lepton_inference.batch import Arrays, Compute
from lepton_inference.batcher import Batcher, BatchLimits
from lepton_inference.queued import DEFAULT_PRIORITY
from lepton_inference.statistics import Statistics
from lepton_inference.tensors import Array


class Doubler:
    """A model that doubles `x`, notes its batch sizes, and runs only while its gate is open."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self._seconds = seconds

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        self.gate.wait(10)
        time.sleep(self._seconds)
        self.batches.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise InvalidModel("negative")
        return {"y": inputs["x"] * 2}


@asynccontextmanager
async def batching(
    compute: Compute, limits: BatchLimits | None = None, *, instances: int = 1
) -> AsyncIterator[tuple[Batcher, Statistics]]:
    statistics = Statistics()
    batcher = Batcher(compute, limits or BatchLimits(), statistics=statistics, instances=instances)
    try:
        yield batcher, statistics
    finally:
        await batcher.drain()


def records(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)[:, None]}


async def ask(
    batcher: Batcher,
    *values: float,
    deadline: float | None = None,
    priority: int = DEFAULT_PRIORITY,
) -> list[float]:
    outputs = await batcher.infer(records(*values), len(values), deadline=deadline, priority=priority)
    doubled: list[float] = outputs["y"][:, 0].tolist()
    return doubled


@asynccontextmanager
async def busy(batcher: Batcher, model: Doubler) -> AsyncIterator[None]:
    """While the block runs, the model is at work on one record and everything else waits."""
    model.gate.clear()
    first = asyncio.create_task(ask(batcher, 0))
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        model.gate.set()
        await first


async def test_an_idle_model_answers_at_once() -> None:
    async with batching(Doubler()) as (batcher, _):
        assert await ask(batcher, 1, 2) == [2, 4]


async def test_what_comes_while_the_model_runs_is_its_next_batch() -> None:
    model = Doubler()
    async with batching(model) as (batcher, _):
        async with busy(batcher, model):
            asked = [asyncio.create_task(ask(batcher, n, n + 0.5)) for n in range(5)]
            await asyncio.sleep(0.01)
        assert await asyncio.gather(*asked) == [[2.0 * n, 2.0 * n + 1] for n in range(5)]
    assert model.batches == [1, 10]


async def test_a_batch_has_no_more_records_than_it_may() -> None:
    model = Doubler()
    async with batching(model, BatchLimits(max_batch_size=4)) as (batcher, _):
        async with busy(batcher, model):
            asked = [asyncio.create_task(ask(batcher, *[n] * 3)) for n in range(3)]
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
    assert model.batches == [1, 3, 3, 3]


async def test_a_request_beyond_the_batch_size_runs_in_pieces() -> None:
    model = Doubler()
    async with batching(model, BatchLimits(max_batch_size=4)) as (batcher, _):
        assert await ask(batcher, *range(10)) == [2 * n for n in range(10)]
    assert model.batches == [4, 4, 2]


async def test_requests_of_a_model_without_a_batch_run_one_at_a_time() -> None:
    model = Doubler()
    async with batching(model, BatchLimits(max_batch_size=0)) as (batcher, _):
        async with busy(batcher, model):
            asked = [asyncio.create_task(ask(batcher, n)) for n in range(3)]
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
    assert model.batches == [1, 1, 1, 1]


async def test_only_requests_of_one_shape_are_put_together() -> None:
    async with batching(Doubler()) as (batcher, _):
        narrow, wide = {"x": np.ones((1, 2))}, {"x": np.ones((1, 3))}
        answers = await asyncio.gather(*(batcher.infer(inputs, 1) for inputs in (narrow, wide, narrow)))
    assert [answer["y"].shape for answer in answers] == [(1, 2), (1, 3), (1, 2)]


async def test_what_a_model_hands_through_stays_as_it_was() -> None:
    async with batching(lambda inputs: {"y": inputs["x"]}) as (batcher, _):
        ones, twos = await asyncio.gather(*(batcher.infer(records(n, n), 2) for n in (1, 2)))
        await asyncio.gather(*(batcher.infer(records(n, n), 2) for n in (3, 4)))
    assert [ones["y"].tolist(), twos["y"].tolist()] == [[[1], [1]], [[2], [2]]]


class Meeting:
    """A model that answers when as many runs have come together as it waits for."""

    def __init__(self, runs: int) -> None:
        self._barrier = threading.Barrier(runs)

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        self._barrier.wait(30)
        return {"y": inputs["x"] * 2}


async def test_instances_run_at_a_time() -> None:
    async with batching(Meeting(3), BatchLimits(max_batch_size=2), instances=3) as (batcher, statistics):
        for _ in range(3):
            answers = await asyncio.gather(*(ask(batcher, n) for n in range(6)))
            assert answers == [[2 * n] for n in range(6)]
    assert {size: stages.count for size, stages in statistics.counts().runs.items()} == {2: 9}


async def test_no_more_than_the_instances_run_at_a_time() -> None:
    running, most = 0, 0
    counting = threading.Lock()

    def compute(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        nonlocal running, most
        with counting:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with counting:
            running -= 1
        return {"y": inputs["x"] * 2}

    async with batching(compute, BatchLimits(max_batch_size=1), instances=2) as (batcher, _):
        answers = await asyncio.gather(*(ask(batcher, n) for n in range(40)))
    assert answers == [[2 * n] for n in range(40)]
    assert most == 2


async def test_instances_that_drain_answer_all_that_run() -> None:
    model = Doubler()
    batcher = Batcher(model, BatchLimits(max_batch_size=1), statistics=Statistics(), instances=2)
    model.gate.clear()
    asked = [asyncio.create_task(ask(batcher, n)) for n in range(5)]
    await asyncio.sleep(0.01)
    draining = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0.01)
    assert not draining.done()
    model.gate.set()
    await draining
    assert await asyncio.gather(*asked) == [[2 * n] for n in range(5)]


async def test_a_delay_fills_batches() -> None:
    model = Doubler()
    async with batching(model, BatchLimits(max_batch_size=3, max_delay_seconds=5)) as (batcher, _):
        asked = []
        for n in range(3):
            asked.append(asyncio.create_task(ask(batcher, n)))
            await asyncio.sleep(0.02)
        await asyncio.wait_for(asyncio.gather(*asked), 2)
    assert model.batches == [3]


async def test_a_batch_of_a_preferred_size_does_not_wait() -> None:
    model = Doubler()
    limits = BatchLimits(max_batch_size=8, max_delay_seconds=30, preferred_batch_sizes=(2, 4))
    async with batching(model, limits) as (batcher, _):
        asked = [asyncio.create_task(ask(batcher, n)) for n in range(4)]
        await asyncio.wait_for(asyncio.gather(*asked), 10)
        asked = [asyncio.create_task(ask(batcher, n)) for n in range(7)]
        await asyncio.wait_for(asyncio.gather(*asked[:6]), 10)
        await asyncio.sleep(0.02)
        assert not asked[6].done()
    assert await asked[6] == [12], "what drains does not wait"
    assert model.batches == [4, 4, 2, 1]


async def test_a_preferred_size_is_met_by_whole_requests() -> None:
    model = Doubler()
    limits = BatchLimits(max_batch_size=8, max_delay_seconds=30, preferred_batch_sizes=(4,))
    async with batching(model, limits) as (batcher, _):
        asked = [asyncio.create_task(ask(batcher, *range(count))) for count in (3, 2)]
        await asyncio.sleep(0.02)
        assert not any(request.done() for request in asked)
        # Together they are no four records, and one less than a full batch: with the third it is full.
        asked.append(asyncio.create_task(ask(batcher, *range(3))))
        await asyncio.wait_for(asyncio.gather(*asked), 10)
    assert model.batches == [8]


async def test_a_higher_priority_runs_first() -> None:
    model = Doubler()
    answered = []

    async def one(batcher: Batcher, priority: int) -> None:
        await ask(batcher, priority, priority=priority)
        answered.append(priority)

    async with batching(model, BatchLimits(max_batch_size=1)) as (batcher, _):
        async with busy(batcher, model):
            asked = [asyncio.create_task(one(batcher, priority)) for priority in (3, 5, 1, 4, 2)]
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
    assert answered == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(BatchLimits(max_queue_requests=3), id="requests"),
        pytest.param(BatchLimits(max_queue_bytes=12), id="bytes"),
    ],
)
async def test_in_a_full_queue_the_last_of_the_lowest_priority_gives_way(limits: BatchLimits) -> None:
    model = Doubler()
    async with batching(model, limits) as (batcher, statistics):
        async with busy(batcher, model):
            waiting = [
                asyncio.create_task(ask(batcher, n, priority=priority))
                for n, priority in enumerate((4, 3, 4))
            ]
            await asyncio.sleep(0.01)
            with pytest.raises(Overloaded, match="the queue"):
                await ask(batcher, 9, priority=5)
            with pytest.raises(Overloaded, match="the queue"):
                await ask(batcher, 9, priority=4)
            high = asyncio.create_task(ask(batcher, 5, priority=1))
            with pytest.raises(Overloaded, match="higher priority") as displaced:
                await waiting[2]
            assert displaced.value.retry_after_seconds is not None
            assert batcher.queue_length == 3
        assert await asyncio.gather(high, *waiting[:2]) == [[10], [0], [2]]
    assert statistics.counts().failures == {"OVERLOADED": 3}


async def test_nothing_is_displaced_for_what_would_still_not_fit() -> None:
    model = Doubler()
    async with batching(model, BatchLimits(max_queue_bytes=12)) as (batcher, _):
        async with busy(batcher, model):
            waiting = [asyncio.create_task(ask(batcher, n, priority=5)) for n in range(3)]
            await asyncio.sleep(0.01)
            with pytest.raises(Overloaded, match="bytes"):
                await ask(batcher, 1, 2, 3, 4, priority=1)
        assert await asyncio.gather(*waiting) == [[0], [2], [4]]


async def test_only_what_goes_before_a_request_counts_against_its_deadline() -> None:
    model = Doubler(seconds=0.1)
    async with batching(model, BatchLimits(max_batch_size=1)) as (batcher, _):
        await ask(batcher, 0)
        waiting = [asyncio.create_task(ask(batcher, n, priority=4)) for n in range(8)]
        await asyncio.sleep(0.02)
        with pytest.raises(Overloaded, match="deadline"):
            await ask(batcher, 9, deadline=time.monotonic() + 0.7, priority=4)
        assert await ask(batcher, 9, deadline=time.monotonic() + 0.7, priority=3) == [18]
        await asyncio.gather(*waiting)


async def test_drain_ends_where_all_that_waits_is_too_late() -> None:
    model = Doubler()
    batcher = Batcher(model, BatchLimits(), statistics=Statistics())
    async with busy(batcher, model):
        late = asyncio.create_task(ask(batcher, 1, deadline=time.monotonic() + 0.05))
        await asyncio.sleep(0.1)
        draining = asyncio.create_task(batcher.drain())
        await asyncio.sleep(0)
    await asyncio.wait_for(draining, 10)
    with pytest.raises(DeadlineExceeded):
        await late


async def test_a_delay_ends() -> None:
    async with batching(Doubler(), BatchLimits(max_delay_seconds=0.1)) as (batcher, _):
        started = time.monotonic()
        await ask(batcher, 1)
        assert 0.09 < time.monotonic() - started < 2


async def test_a_request_that_fails_does_not_fail_its_batch() -> None:
    model = Doubler()
    async with batching(model) as (batcher, statistics):
        async with busy(batcher, model):
            asked = [asyncio.create_task(ask(batcher, value)) for value in (1, -1, 2)]
            await asyncio.sleep(0.01)
        good, bad, also_good = await asyncio.gather(*asked, return_exceptions=True)
    assert (good, also_good) == ([2], [4])
    assert isinstance(bad, InvalidModel)
    assert statistics.counts().fail.count == 1


async def test_a_fault_reaches_everyone_it_hits_and_the_queue_goes_on() -> None:
    faults = [RuntimeError("fault")]

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if faults:
            raise faults.pop()
        return {"y": inputs["x"]}

    async with batching(run) as (batcher, _):
        with pytest.raises(RuntimeError, match="fault"):
            await ask(batcher, 1)
        assert await ask(batcher, 1) == [1]


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(BatchLimits(max_queue_requests=2), id="requests"),
        pytest.param(BatchLimits(max_queue_bytes=8), id="bytes"),
    ],
)
async def test_a_full_queue_refuses_and_says_when_to_come_back(limits: BatchLimits) -> None:
    model = Doubler()
    async with batching(model, limits) as (batcher, _), busy(batcher, model):
        waiting = [asyncio.create_task(ask(batcher, n)) for n in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded) as caught:
            await ask(batcher, 2)
        assert caught.value.retry_after_seconds is not None
        assert caught.value.retry_after_seconds > 0
        model.gate.set()
        assert await asyncio.gather(*waiting) == [[0], [2]]


async def test_an_expired_request_is_refused_on_arrival() -> None:
    async with batching(Doubler()) as (batcher, _):
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, 1, deadline=time.monotonic() - 1)


async def test_a_request_that_expired_while_it_waited_does_not_run() -> None:
    model = Doubler()
    async with batching(model) as (batcher, _):
        async with busy(batcher, model):
            late = asyncio.create_task(ask(batcher, 1, deadline=time.monotonic() + 0.05))
            await asyncio.sleep(0.2)
        with pytest.raises(DeadlineExceeded):
            await late
    assert model.batches == [1]


async def test_a_deadline_out_of_reach_is_refused_at_once() -> None:
    model = Doubler(seconds=0.2)
    async with batching(model, BatchLimits(max_batch_size=1)) as (batcher, _):
        await ask(batcher, 0)
        waiting = [asyncio.create_task(ask(batcher, n)) for n in range(3)]
        await asyncio.sleep(0.02)
        started = time.monotonic()
        with pytest.raises(Overloaded, match="deadline"):
            await ask(batcher, 9, deadline=started + 0.4)
        assert time.monotonic() - started < 0.1
        await asyncio.gather(*waiting)


async def test_a_cancelled_request_leaves_the_queue() -> None:
    model = Doubler()
    async with batching(model) as (batcher, _), busy(batcher, model):
        gone = asyncio.create_task(ask(batcher, 1))
        await asyncio.sleep(0.01)
        assert batcher.queue_length == 1
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        assert batcher.queue_length == 0
    assert model.batches == [1]


async def test_drain_answers_what_waits_and_takes_nothing_more() -> None:
    model = Doubler(seconds=0.05)
    batcher = Batcher(model, BatchLimits(max_batch_size=1), statistics=Statistics())
    asked = [asyncio.create_task(ask(batcher, n)) for n in range(3)]
    await asyncio.sleep(0.01)
    draining = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0.01)
    with pytest.raises(ShuttingDown):
        await ask(batcher, 3)
    await draining
    assert await asyncio.gather(*asked) == [[0], [2], [4]]


async def test_overload_leaves_most_of_the_capacity_to_requests_that_can_be_met() -> None:
    """Three times what the model can do, deadlines of ten runs: nearly every run is of use."""
    run_seconds, asked, answered = 0.01, 0, 0
    model = Doubler(seconds=run_seconds)

    async def one(batcher: Batcher) -> None:
        nonlocal answered
        deadline = time.monotonic() + 10 * run_seconds
        with suppress(LeptonError):
            await ask(batcher, 1, deadline=deadline)
            answered += time.monotonic() <= deadline

    async with batching(model, BatchLimits(max_batch_size=1)) as (batcher, _):
        await ask(batcher, 0)
        async with asyncio.TaskGroup() as group:
            for _ in range(150):
                group.create_task(one(batcher))
                asked += 1
                await asyncio.sleep(run_seconds / 3)
    assert answered >= 0.7 * (len(model.batches) - 1)
    assert answered >= 0.2 * asked


async def test_requests_and_runs_are_counted() -> None:
    model = Doubler()
    async with batching(model) as (batcher, statistics):
        async with busy(batcher, model):
            asked = [asyncio.create_task(ask(batcher, 1, 2)) for _ in range(3)]
            await asyncio.sleep(0.05)
        await asyncio.gather(*asked)
    assert statistics.counts().records == 7
    assert (
        statistics.counts().success.count
        == statistics.counts().queue.count
        == statistics.counts().requests.infer.count
        == 4
    )
    assert statistics.counts().run_count == 2
    assert {size: stages.count for size, stages in statistics.counts().runs.items()} == {1: 1, 6: 1}
    assert statistics.counts().queue.ns > 3 * 0.04e9
    assert statistics.last_request_ms > 1_600_000_000_000
    assert sum(statistics.counts().queue_counts) == sum(statistics.counts().total_counts) == 4
    assert sum(statistics.counts().compute_counts) == 4


async def test_failures_are_counted_by_reason() -> None:
    model = Doubler()
    async with batching(model, BatchLimits(max_queue_requests=1)) as (batcher, statistics):
        with pytest.raises(InvalidModel):
            await ask(batcher, -1)
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, 1, deadline=time.monotonic() - 1)
        async with busy(batcher, model):
            gone = asyncio.create_task(ask(batcher, 1))
            await asyncio.sleep(0.01)
            with pytest.raises(Overloaded):
                await ask(batcher, 2)
            gone.cancel()
            await asyncio.wait([gone])
    expected = {"INVALID_MODEL": 1, "DEADLINE_EXCEEDED": 1, "OVERLOADED": 1, "CANCELLED": 1}
    assert statistics.counts().failures == expected
    assert statistics.counts().fail.count == 4


async def test_a_drain_that_nobody_waits_for_any_more_goes_on() -> None:
    model = Doubler()
    batcher = Batcher(model, BatchLimits(max_batch_size=1), statistics=Statistics())
    async with busy(batcher, model):
        waiting = asyncio.create_task(ask(batcher, 1))
        draining = asyncio.create_task(batcher.drain())
        await asyncio.sleep(0.01)
        draining.cancel()
        await asyncio.sleep(0)
    assert await waiting == [2]
    await batcher.drain()


async def test_what_was_answered_from_prepared_arrays_stays_as_it_is() -> None:
    kept = np.zeros((32, 1), np.float32)

    def prepare(inputs: Arrays) -> Callable[[int], Arrays]:
        def run(records: int) -> Arrays:
            np.multiply(inputs["x"][:records], 3, out=kept[:records])
            return {"y": kept[:records]}

        return run

    batcher = Batcher(Doubler(), BatchLimits(), statistics=Statistics(), prepare=prepare)
    first = await asyncio.gather(*(batcher.infer(records(value), 1) for value in (1, 2)))
    second = await asyncio.gather(*(batcher.infer(records(value), 1) for value in (5, 6)))
    assert [float(outputs["y"][0, 0]) for outputs in first + second] == [3, 6, 15, 18]
    await batcher.drain()
