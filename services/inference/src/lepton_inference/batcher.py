"""Dynamic batching: requests that come while the model runs are its next batch.

No timer is needed for that: an idle model starts at once, a busy one finds its next batch
waiting, and the batch grows with the load. A delay can be set for models that gain more
from fuller batches than callers lose by waiting.

A small model answers before a thread would have taken over, so it runs in the event loop: what
could be read in one turn of the loop is a batch, run and answered in the next. Larger models
have a thread, so that the loop can go on. How long runs take decides, as they were measured. A model
with several instances has a thread for each.

The queue is bounded and knows its callers' priorities and deadlines. What could not be answered in
time is refused on arrival, what has expired while it waited does not run, and what its caller
has given up leaves the queue.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lepton_common.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    LeptonError,
    Overloaded,
    ShuttingDown,
)
from lepton_inference.batch import Arrays, Compute, Empty, Instance, Outputs, Prepare, never
from lepton_inference.pace import Pace
from lepton_inference.queued import DEFAULT_PRIORITY, Awaited, Queue, Queued
from lepton_inference.statistics import Statistics
from lepton_inference.tensors import Array

_SHORTEST_RETRY_SECONDS = 0.01

# Longer runs have a thread. It costs a tenth of a millisecond, and other requests wait no longer than this.
_LONGEST_INLINE_SECONDS = 0.001

# The part of its time in which a request must be answered here. Its caller's clock runs on until it has read
# the answer, and a machine that is asked too much takes its time with that too.
_MARGIN = 0.9


@dataclass(frozen=True)
class BatchLimits:
    """How requests are batched and how many may wait.

    `max_batch_size` counts records; 0 stands for a model without a batch dimension, whose
    requests run one at a time. A batch that is full, or has exactly as many records as one of
    `preferred_batch_sizes`, does not wait for the delay.
    """

    max_batch_size: int = 32
    max_delay_seconds: float = 0.0
    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_requests: int = 1024
    max_queue_bytes: int = 256 << 20


class Batcher:
    """The queue in front of one model, which runs on one batch at a time, or on one for each instance.

    To be made and used within a running event loop. `compute` takes and gives arrays by name; it is called
    from as many threads as there are instances, and from the loop where there is one. `prepare` readies it
    for each place where batches are put together, for which `empty` makes room.
    """

    def __init__(
        self,
        compute: Compute,
        limits: BatchLimits,
        *,
        statistics: Statistics,
        instances: int = 1,
        prepare: Prepare = never,
        empty: Empty = np.empty,
    ) -> None:
        self._limits = limits
        self._statistics = statistics
        self._queue = Queue()
        # Requests that run alone, before the queue: those of a batch that failed.
        self._alone: deque[Queued] = deque()
        self._idle = [
            Instance(compute, limits.max_batch_size, prepare=prepare, empty=empty) for _ in range(instances)
        ]
        self._instances = instances
        self._running: list[_Batch] = []
        self._closing = False
        self._drained = asyncio.Event()
        self._pace = Pace(full=max(1, limits.max_batch_size), instances=instances)
        self._loop = asyncio.get_running_loop()
        # When a run ended and others waited already, until they run.
        self._wanted_since = math.inf
        self._turn_is_next = False
        self._timer: asyncio.TimerHandle | None = None
        self._threads = ThreadPoolExecutor(max_workers=instances, thread_name_prefix="model")

    @property
    def queue_length(self) -> int:
        """Requests that wait."""
        return self._queue.requests

    async def infer(
        self,
        inputs: Mapping[str, Array],
        records: int,
        *,
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> Arrays:
        """Runs the model on `records` records, together with what else waits; gives all outputs by name.

        `deadline` is a time of `time.monotonic`; a `priority` is one of `PRIORITIES`, of which 1 goes first.

        Raises:
            Overloaded: the queue is full or the deadline out of reach; it says when to try again.
            DeadlineExceeded: the deadline passed.
            ShuttingDown: `drain` was called.
            InvalidModel: the model cannot compute these inputs.
        """
        request = Awaited(inputs, records, deadline=deadline, priority=priority)
        self.submit(request)
        try:
            return await request.outputs
        except asyncio.CancelledError:
            if request.outputs.cancelled():
                self.withdraw(request)
            raise

    def submit(self, request: Queued) -> None:
        """Takes a request, or refuses it: it is told what becomes of it."""
        self._statistics.last_arrived = request.arrived
        refusal = self._refusal(request)
        if refusal is None:
            self._queue.put(request)
            self._look_soon()
        else:
            self._fail(request, refusal)

    def withdraw(self, request: Queued) -> None:
        """Forgets a request that nobody waits for any more."""
        self._queue.remove(request)
        self._statistics.failed(request.arrived, Cancelled.reason)

    async def drain(self) -> None:
        """Refuses what comes from now on, answers what waits, and ends."""
        self._closing = True
        self._look_soon()
        await self._drained.wait()
        self._threads.shutdown(wait=False)
        # Before the model itself can go, which is to end where nobody waits for that.
        for instance in self._idle:
            instance.let_go()

    def _refusal(self, request: Queued) -> LeptonError | None:
        """Why a request is not taken; None where it is, which others may have to make room for."""
        if self._closing:
            return ShuttingDown("the version is being replaced or the server stops; try again")
        now = request.arrived
        deadline = request.deadline
        if deadline is not None and deadline <= now:
            return DeadlineExceeded("the deadline had passed when the request came")
        queue = self._queue
        if not queue.requests and not self._running:
            return None
        if deadline is not None and (late := self._late(request, _MARGIN * (deadline - now), now)):
            return late
        if (
            queue.requests >= self._limits.max_queue_requests
            or queue.size_bytes + request.size_bytes > self._limits.max_queue_bytes
        ):
            return self._make_room(request)
        return None

    def _late(self, request: Queued, seconds: float, now: float) -> Overloaded | None:
        """Refuses a request that will not be answered within so many seconds."""
        pace, records = self._pace, request.records
        running, elapsed = 0, 0.0
        if not self._idle:
            running, elapsed = self._running[0].records, now - self._running[0].started
        # Mostly there is time enough for all that waits, whatever goes first.
        if pace.longest_seconds(self._queue.records + running + records, elapsed=elapsed) <= seconds:
            return None
        ahead = self._queue.before(request.priority).records
        if pace.answer_seconds(records, ahead=ahead, running=running, elapsed=elapsed, now=now) > seconds:
            return self._overloaded("the deadline cannot be met", ahead, now)
        return None

    def _make_room(self, request: Queued) -> Overloaded | None:
        """Refuses a request that has no place in the queue, or the last ones of lower priority."""
        limits, queue, now = self._limits, self._queue, request.arrived
        before = queue.before(request.priority)
        if before.requests >= limits.max_queue_requests:
            return self._overloaded("the queue is full", before.records, now)
        if before.size_bytes + request.size_bytes > limits.max_queue_bytes:
            return self._overloaded("the queue holds as many bytes as it may", before.records, now)
        while (
            queue.requests >= limits.max_queue_requests
            or queue.size_bytes + request.size_bytes > limits.max_queue_bytes
        ):
            displaced = queue.take_last()
            self._fail(displaced, self._overloaded("others of higher priority came", queue.records, now))
        return None

    def _overloaded(self, why: str, ahead: int, now: float) -> Overloaded:
        """What a request is told: to come again when the records ahead of it are done."""
        records = ahead + sum([batch.records for batch in self._running])
        seconds = self._pace.backlog_seconds(records, now=now)
        # In whole hundredths: under overload most are told the same, which is encoded once.
        ticks = max(math.ceil(seconds / _SHORTEST_RETRY_SECONDS), 1)
        return Overloaded(why, retry_after_seconds=ticks * _SHORTEST_RETRY_SECONDS)

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
        elif self._queue.requests:
            now = time.monotonic()
            most = self._next_size(now)
            if not most:
                return
            done = now + self._pace.run_seconds(min(most, self._queue.records), now=now)
            batch, late = self._queue.take(most, done=done)
            for request in late:
                self._fail(request, DeadlineExceeded("the deadline passed in the queue"))
            if batch:
                self._begin(batch)
            else:
                self._look_soon()
        elif self._closing and not self._running:
            self._drained.set()
        if self._idle and (self._queue.requests or self._alone):
            self._look_soon()

    def _next_size(self, now: float) -> int:
        """How many records the next batch may have; 0 when it shall grow, until a timer ends that."""
        limits, queue = self._limits, self._queue
        delay, most = limits.max_delay_seconds, max(1, limits.max_batch_size)
        if not delay or self._closing or queue.records >= most:
            return most
        preferred = limits.preferred_batch_sizes
        if preferred and (size := queue.preferred(preferred, most_records=most)):
            return size
        oldest = queue.oldest
        until = oldest.arrived + delay
        if oldest.deadline is not None:
            until = min(until, oldest.deadline - 2 * self._pace.run_seconds(queue.records, now=now))
        if until <= now:
            return most
        self._timer = self._loop.call_later(until - now, self._look_soon)
        return 0

    def _begin(self, requests: list[Queued]) -> None:
        started = time.monotonic()
        batch = _Batch(requests, self._idle.pop(), started, min(started, self._wanted_since))
        self._wanted_since = math.inf
        self._running.append(batch)
        if self._instances > 1 or self._pace.least_seconds(batch.records) > _LONGEST_INLINE_SECONDS:
            running = self._loop.run_in_executor(self._threads, batch.run)
            running.add_done_callback(lambda ended: self._end(batch, ended.exception() or ended.result()))
            return
        outcome: Outputs | BaseException
        try:
            outcome = batch.run()
        except Exception as error:
            outcome = error
        self._end(batch, outcome)

    def _end(self, batch: "_Batch", outcome: Outputs | BaseException) -> None:
        self._running.remove(batch)
        requests = batch.requests
        if isinstance(outcome, Outputs):
            now = time.monotonic()
            self._pace.observe(batch.records, now - batch.started, now=now, period=now - batch.wanted_since)
            if self._queue.requests and not self._limits.max_delay_seconds:
                self._wanted_since = now
            self._answer(batch, outcome)
        elif isinstance(outcome, LeptonError) and len(requests) > 1:
            # One request may have spoilt the batch: alone, each gets what it deserves.
            self._alone.extend(requests)
        else:
            for request in requests:
                self._fail(request, outcome)
        # Its slots are not read any more.
        self._idle.append(batch.instance)
        if self._queue.requests or self._alone or self._closing:
            self._look_soon()

    def _answer(self, batch: "_Batch", outputs: Outputs) -> None:
        answered, records = batch.requests, batch.records
        unanswered: list[Queued] = []
        for index, request in enumerate(answered):
            if request.is_over:
                unanswered.append(request)
                continue
            try:
                request.answer(outputs, index)
            except Exception as error:
                self._fail(request, error)
                unanswered.append(request)
        if unanswered:
            answered = [request for request in answered if request not in unanswered]
            records = sum([request.records for request in answered])
        arrivals = [request.arrived for request in answered]
        self._statistics.answered(
            arrivals, records, outputs.runs, started=batch.started, ended=time.monotonic()
        )

    def _fail(self, request: Queued, error: BaseException) -> None:
        if not request.is_over:
            self._statistics.failed(request.arrived, _reason(error))
            request.fail(error)


class _Batch:
    """Requests that run together.

    Args:
        requests: of one kind.
        instance: where they run.
        started: when they were given to it, of `time.monotonic`.
        wanted_since: when they could have been, if the loop had not had other things to do.
    """

    __slots__ = ("instance", "records", "requests", "started", "wanted_since")

    def __init__(
        self, requests: list[Queued], instance: Instance, started: float, wanted_since: float
    ) -> None:
        self.requests = requests
        self.records = sum([request.records for request in requests])
        self.instance = instance
        self.started = started
        self.wanted_since = wanted_since

    def run(self) -> Outputs:
        return self.instance.run(self.requests, self.records)


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, LeptonError) else Internal.reason
