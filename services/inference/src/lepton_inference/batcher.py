"""Dynamic batching: requests that come while the model runs are its next batch.

No timer is needed for that: an idle model starts at once, a busy one finds its next batch
waiting, and the batch grows with the load. A delay can be set for models that gain more
from fuller batches than callers lose by waiting.

The queue is bounded and knows its callers' deadlines. What could not be answered in time
is refused on arrival, what has expired while it waited does not run, and what its caller
has given up leaves the queue.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from lepton_common.errors import DeadlineExceeded, LeptonError, Overloaded, ShuttingDown
from lepton_inference.batch import Answer, Run, run_batch
from lepton_inference.pace import Pace
from lepton_inference.statistics import Statistics
from lepton_inference.tensors import Array

_SHORTEST_RETRY_SECONDS = 0.01


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


@dataclass(eq=False)
class _Request:
    inputs: Mapping[str, Array]
    records: int
    deadline: float | None
    answer: asyncio.Future[Answer]
    arrived: float = field(default_factory=time.monotonic)

    @property
    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self.inputs.values())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What two requests must share to be put together."""
        return {name: array.shape[1:] for name, array in self.inputs.items()}


class _Queue:
    """Requests in the order they came, with what they add up to."""

    def __init__(self) -> None:
        self._requests: deque[_Request] = deque()
        self.records = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def oldest(self) -> _Request:
        return self._requests[0]

    def put(self, request: _Request) -> None:
        self._requests.append(request)
        self._count(request, sign=1)

    def take(self) -> _Request:
        request = self._requests.popleft()
        self._count(request, sign=-1)
        return request

    def remove(self, request: _Request) -> None:
        if request in self._requests:
            self._requests.remove(request)
            self._count(request, sign=-1)

    def _count(self, request: _Request, *, sign: int) -> None:
        self.records += sign * request.records
        self.size_bytes += sign * request.size_bytes


class Batcher:
    """The queue in front of one model, and the one thread that runs it.

    To be made within a running event loop. `run` takes and gives arrays by name.
    """

    def __init__(self, run: Run, limits: BatchLimits, *, statistics: Statistics) -> None:
        self._run = run
        self._limits = limits
        self._statistics = statistics
        self._queue = _Queue()
        self._running_records = 0
        self._closing = False
        self._changed = asyncio.Event()
        self._pace = Pace()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._worker = asyncio.create_task(self._work())

    @property
    def queue_length(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    async def infer(
        self, inputs: Mapping[str, Array], records: int, *, deadline: float | None = None
    ) -> Answer:
        """Runs the model on `records` records, together with what else waits.

        `deadline` is a time of `time.monotonic`.

        Raises:
            Overloaded: the queue is full or the deadline out of reach; it says when to try again.
            DeadlineExceeded: the deadline passed.
            ShuttingDown: `drain` was called.
            InvalidModel: the model cannot compute these inputs.
        """
        self._statistics.arrived()
        loop = asyncio.get_running_loop()
        request = _Request(inputs, records, deadline, answer=loop.create_future())
        try:
            self._admit(request)
            answer = await self._wait_in_queue(request)
        except BaseException:
            self._statistics.failed(_nanoseconds_since(request.arrived))
            raise
        self._statistics.answered(records, _nanoseconds_since(request.arrived), timing=answer.timing)
        return answer

    async def drain(self) -> None:
        """Refuses what comes from now on, answers what waits, and ends."""
        self._closing = True
        self._changed.set()
        # A caller that gives up waiting must not take the worker, and with it the queue, along.
        await asyncio.wait({self._worker})
        self._thread.shutdown(wait=False)

    async def _wait_in_queue(self, request: _Request) -> Answer:
        self._queue.put(request)
        self._changed.set()
        try:
            return await request.answer
        except asyncio.CancelledError:
            self._queue.remove(request)
            raise

    def _admit(self, request: _Request) -> None:
        if self._closing:
            raise ShuttingDown("the version is being replaced or the server stops; try again")
        now = request.arrived
        if request.deadline is not None and request.deadline <= now:
            raise DeadlineExceeded("the deadline had passed when the request came")
        if not self._queue and not self._running_records:
            return
        backlog = self._pace.backlog_seconds(self._running_records + self._queue.records, now=now)
        retry = max(backlog, _SHORTEST_RETRY_SECONDS)
        if len(self._queue) >= self._limits.max_queue_requests:
            raise Overloaded("the queue is full", retry_after_seconds=retry)
        if self._queue.size_bytes + request.size_bytes > self._limits.max_queue_bytes:
            raise Overloaded("the queue holds as many bytes as it may", retry_after_seconds=retry)
        # One run may be under way and one is this request's own.
        needed = backlog + 2 * self._pace.run_seconds(now=now)
        if request.deadline is not None and now + needed > request.deadline:
            raise Overloaded("the deadline cannot be met", retry_after_seconds=retry)

    async def _work(self) -> None:
        while self._queue or not self._closing:
            self._changed.clear()
            if not self._queue:
                await self._changed.wait()
                continue
            # Whatever else can be read in this turn of the loop joins the batch.
            await asyncio.sleep(0)
            await self._gather()
            if batch := self._take():
                await self._answer(batch)

    async def _gather(self) -> None:
        """Waits until the batch is full or its oldest request has waited long enough."""
        while self._queue and not self._closing:
            oldest = self._queue.oldest
            until = oldest.arrived + self._limits.max_delay_seconds
            now = time.monotonic()
            if oldest.deadline is not None:
                until = min(until, oldest.deadline - 2 * self._pace.run_seconds(now=now))
            if self._queue.records >= self._limits.max_batch_size or until <= now:
                return
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(until - now):
                    await self._changed.wait()

    def _take(self) -> list[_Request]:
        """The next batch, out of the queue; expired and hopeless requests are answered with their error."""
        batch: list[_Request] = []
        records = 0
        now = time.monotonic()
        done = now + self._pace.run_seconds(now=now)
        while self._queue:
            request = self._queue.oldest
            records += request.records
            if batch and (records > self._limits.max_batch_size or request.shapes != batch[0].shapes):
                break
            self._queue.take()
            if request.answer.done():
                records -= request.records
            elif request.deadline is not None and request.deadline < done:
                records -= request.records
                request.answer.set_exception(DeadlineExceeded("the deadline passed in the queue"))
            else:
                batch.append(request)
        return batch

    async def _answer(self, batch: list[_Request]) -> None:
        self._running_records = sum(request.records for request in batch)
        started = time.monotonic()
        running = asyncio.get_running_loop().run_in_executor(
            self._thread,
            run_batch,
            self._run,
            [request.inputs for request in batch],
            [request.records for request in batch],
            self._limits.max_batch_size,
        )
        await asyncio.wait({running})
        self._running_records = 0
        error = running.exception()
        if isinstance(error, LeptonError) and len(batch) > 1:
            # One request may have spoilt the batch: alone, each gets what it deserves.
            for request in batch:
                await self._answer([request])
            return
        if error is not None:
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        ended = time.monotonic()
        result = running.result()
        self._pace.observe(sum(request.records for request in batch), ended - started, now=ended)
        for records, timing in result.runs:
            self._statistics.ran(records, timing)
        for request, outputs in zip(batch, result.outputs, strict=True):
            if not request.answer.done():
                queue_ns = int((started - request.arrived) * 1e9)
                request.answer.set_result(Answer(outputs, result.timing(queue_ns)))


def _nanoseconds_since(moment: float) -> int:
    return int((time.monotonic() - moment) * 1e9)
