"""Dynamic batching: requests that come while the model runs are its next batch.

No timer is needed for that: an idle model starts at once, a busy one finds its next batch
waiting, and the batch grows with the load. A delay can be set for models that gain more
from fuller batches than callers lose by waiting.

A small model answers before a thread would have taken over, so it runs in the event loop: what
could be read in one turn of the loop is a batch, run and answered in the next. Larger models
have a thread, so that the loop can go on. How long runs take decides, as they were measured.

The queue is bounded and knows its callers' deadlines. What could not be answered in time
is refused on arrival, what has expired while it waited does not run, and what its caller
has given up leaves the queue.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lepton_common.errors import DeadlineExceeded, LeptonError, Overloaded, ShuttingDown
from lepton_inference.batch import Arrays, BatchResult, Compute, Instance
from lepton_inference.pace import Pace
from lepton_inference.queued import Awaited, Queue, Queued
from lepton_inference.statistics import Statistics
from lepton_inference.tensors import Array

_SHORTEST_RETRY_SECONDS = 0.01

# Longer runs have a thread. It costs a tenth of a millisecond, and other requests wait no longer than this.
_LONGEST_INLINE_SECONDS = 0.001


@dataclass(frozen=True)
class BatchLimits:
    """How requests are batched and how many may wait.

    `max_batch_size` counts records; 0 stands for a model without a batch dimension, whose
    requests run one at a time.
    """

    max_batch_size: int = 32
    max_delay_seconds: float = 0.0
    max_queue_requests: int = 1024
    max_queue_bytes: int = 256 << 20


class Batcher:
    """The queue in front of one model, which runs on one batch at a time, or on one for each instance.

    To be made and used within a running event loop. `compute` takes and gives arrays by name; it is called
    from as many threads as there are instances, and from the loop where there is one.
    """

    def __init__(
        self, compute: Compute, limits: BatchLimits, *, statistics: Statistics, instances: int = 1
    ) -> None:
        self._limits = limits
        self._statistics = statistics
        self._queue = Queue()
        # Requests that run alone, before the queue: those of a batch that failed.
        self._alone: deque[Queued] = deque()
        self._idle = [Instance(compute, limits.max_batch_size) for _ in range(instances)]
        self._instances = instances
        self._running_records = 0
        self._closing = False
        self._drained = asyncio.Event()
        self._pace = Pace()
        self._loop = asyncio.get_running_loop()
        self._turn_is_next = False
        self._timer: asyncio.TimerHandle | None = None
        self._threads = ThreadPoolExecutor(max_workers=instances, thread_name_prefix="model")

    @property
    def queue_length(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    async def infer(
        self, inputs: Mapping[str, Array], records: int, *, deadline: float | None = None
    ) -> Arrays:
        """Runs the model on `records` records, together with what else waits; gives all outputs by name.

        `deadline` is a time of `time.monotonic`.

        Raises:
            Overloaded: the queue is full or the deadline out of reach; it says when to try again.
            DeadlineExceeded: the deadline passed.
            ShuttingDown: `drain` was called.
            InvalidModel: the model cannot compute these inputs.
        """
        request = Awaited(inputs, records, deadline)
        self.submit(request)
        try:
            return await request.outputs
        except asyncio.CancelledError:
            if request.outputs.cancelled():
                self.withdraw(request)
            raise

    def submit(self, request: Queued) -> None:
        """Takes a request; it is told what becomes of it.

        Raises:
            Overloaded, DeadlineExceeded, ShuttingDown: see `infer`.
        """
        self._statistics.last_arrived = request.arrived
        try:
            self._admit(request)
        except LeptonError:
            self._statistics.failed(request.arrived)
            raise
        self._queue.put(request)
        self._look_soon()

    def withdraw(self, request: Queued) -> None:
        """Forgets a request that nobody waits for any more."""
        self._queue.remove(request)
        self._statistics.failed(request.arrived)

    async def drain(self) -> None:
        """Refuses what comes from now on, answers what waits, and ends."""
        self._closing = True
        self._look_soon()
        await self._drained.wait()
        self._threads.shutdown(wait=False)

    def _admit(self, request: Queued) -> None:
        if self._closing:
            raise ShuttingDown("the version is being replaced or the server stops; try again")
        now = request.arrived
        deadline = request.deadline
        if deadline is not None and deadline <= now:
            raise DeadlineExceeded("the deadline had passed when the request came")
        if not self._queue and not self._running_records:
            return
        backlog = self._pace.backlog_seconds(self._running_records + self._queue.records, now=now)
        if len(self._queue) >= self._limits.max_queue_requests:
            raise _overloaded("the queue is full", backlog)
        if self._queue.size_bytes + request.size_bytes > self._limits.max_queue_bytes:
            raise _overloaded("the queue holds as many bytes as it may", backlog)
        # One run may be under way and one is this request's own.
        if deadline is not None and now + backlog + 2 * self._pace.run_seconds(now=now) > deadline:
            raise _overloaded("the deadline cannot be met", backlog)

    # One turn of the loop after the other.

    def _look_soon(self) -> None:
        """Looks at the queue when all that can be read in this turn of the loop has been."""
        if not self._turn_is_next:
            self._turn_is_next = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Begins the next batch, if there is one, it need not grow, and an instance is idle."""
        self._turn_is_next = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._idle:
            return
        if self._alone:
            self._begin([self._alone.popleft()])
        elif self._queue:
            delay = self._seconds_to_gather()
            if delay > 0:
                self._timer = self._loop.call_later(delay, self._look_soon)
                return
            now = time.monotonic()
            done = now + self._pace.run_seconds(now=now)
            batch, late = self._queue.take(self._limits.max_batch_size, done=done)
            for request in late:
                self._fail(request, DeadlineExceeded("the deadline passed in the queue"))
            if batch:
                self._begin(batch)
        elif self._closing and len(self._idle) == self._instances:
            self._drained.set()
        if self._idle and (self._queue or self._alone):
            self._look_soon()

    def _seconds_to_gather(self) -> float:
        """How much longer the next batch may grow: it is full, or its oldest request has waited, at 0."""
        delay = self._limits.max_delay_seconds
        if not delay or self._closing or self._queue.records >= self._limits.max_batch_size:
            return 0.0
        oldest = self._queue.oldest
        until = oldest.arrived + delay
        now = time.monotonic()
        if oldest.deadline is not None:
            until = min(until, oldest.deadline - 2 * self._pace.run_seconds(now=now))
        return until - now

    def _begin(self, batch: list[Queued]) -> None:
        instance = self._idle.pop()
        records = sum([request.records for request in batch])
        self._running_records += records
        started = time.monotonic()
        outcome: BatchResult | BaseException
        if self._instances > 1 or self._pace.least_seconds(records) > _LONGEST_INLINE_SECONDS:
            running = self._loop.run_in_executor(self._threads, instance.run, batch, records)
            running.add_done_callback(
                lambda ended: self._end(instance, batch, records, started, _outcome(ended))
            )
            return
        try:
            outcome = instance.run(batch, records)
        except Exception as error:
            outcome = error
        self._end(instance, batch, records, started, outcome)

    def _end(
        self,
        instance: Instance,
        batch: list[Queued],
        records: int,
        started: float,
        outcome: BatchResult | BaseException,
    ) -> None:
        self._running_records -= records
        if isinstance(outcome, BatchResult):
            ended = time.monotonic()
            self._pace.observe(records, ended - started, now=ended)
            self._answer(batch, started, outcome)
        elif isinstance(outcome, LeptonError) and len(batch) > 1:
            # One request may have spoilt the batch: alone, each gets what it deserves.
            self._alone.extend(batch)
        else:
            for request in batch:
                self._fail(request, outcome)
        # What was read out of its slots has been.
        self._idle.append(instance)
        if self._queue or self._alone or self._closing:
            self._look_soon()

    def _answer(self, batch: list[Queued], started: float, result: BatchResult) -> None:
        outputs = result.outputs
        arrivals: list[float] = []
        records = 0
        for index, request in enumerate(batch):
            if request.is_over:
                continue
            try:
                request.answer(outputs, index)
            except Exception as error:
                self._fail(request, error)
                continue
            arrivals.append(request.arrived)
            records += request.records
        self._statistics.answered(arrivals, records, result.runs, started=started, ended=time.monotonic())

    def _fail(self, request: Queued, error: BaseException) -> None:
        if not request.is_over:
            self._statistics.failed(request.arrived)
            request.fail(error)


def _overloaded(why: str, backlog_seconds: float) -> Overloaded:
    return Overloaded(why, retry_after_seconds=max(backlog_seconds, _SHORTEST_RETRY_SECONDS))


def _outcome(ended: "asyncio.Future[BatchResult]") -> BatchResult | BaseException:
    return ended.exception() or ended.result()
