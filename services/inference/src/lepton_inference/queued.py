"""Requests that wait for a model."""

import asyncio
import time
from collections.abc import Collection, Hashable, Iterable, Iterator
from heapq import merge
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, Protocol

from lepton_inference.batch import Arrays, Outputs, Request, Slots, kind_of

PRIORITIES = 5
"""From 1, the highest, to this."""

DEFAULT_PRIORITY = 3

# One batch of so many takes requests as they came.
_AS_THEY_CAME = 8
_ARRIVED = attrgetter("arrived")


class Queued(Request, Protocol):
    """A request with its deadline, and with somebody who waits for it."""

    arrived: float
    """Of `time.monotonic`."""

    @property
    def deadline(self) -> float | None:
        """When an answer is of no use any more, of `time.monotonic`; None for never."""

    @property
    def priority(self) -> int:
        """From 1, the highest, to `PRIORITIES`."""

    @property
    def size_bytes(self) -> int:
        """Of its inputs."""

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""

    def answer(self, outputs: Outputs, index: int) -> None:
        """Takes its share of the outputs of a batch. It is over then."""

    def fail(self, error: BaseException) -> None:
        """Takes the error that it ends with."""


class Awaited:
    """A request of arrays whose answer a coroutine awaits."""

    in_place = True

    def __init__(
        self, inputs: Arrays, records: int, *, deadline: float | None = None, priority: int = DEFAULT_PRIORITY
    ) -> None:
        self.records = records
        self.deadline = deadline
        self.priority = priority
        self.arrived = time.monotonic()
        self.size_bytes = sum(array.nbytes for array in inputs.values())
        self.outputs: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        self._inputs = inputs

    @property
    def kind(self) -> Hashable:
        return kind_of({name: array.shape for name, array in self._inputs.items()})

    @property
    def is_over(self) -> bool:
        return self.outputs.done()

    def arrays(self) -> Arrays:
        return self._inputs

    def fill(self, slots: Slots, row: int) -> None:
        for name, array in self._inputs.items():
            slots.arrays[name][row : row + self.records] = array

    def answer(self, outputs: Outputs, index: int) -> None:
        if not self.outputs.done():
            self.outputs.set_result(outputs.of(index))

    def fail(self, error: BaseException) -> None:
        if not self.outputs.done():
            self.outputs.set_exception(error)


class Sums(NamedTuple):
    """What requests add up to."""

    requests: int
    records: int
    size_bytes: int


class Queue:
    """Requests that wait, with what they add up to.

    Those of a higher priority go first, and among equals those that came first. One batch in eight takes
    them as they came whatever their priority: so higher ones never take all of the model.
    """

    def __init__(self) -> None:
        self._lines = tuple([_Line() for _ in range(PRIORITIES)])
        self._batches = 0
        self.requests = 0
        """That wait."""
        self.records = 0
        self.size_bytes = 0

    def __iter__(self) -> Iterator[Queued]:
        return iter(self._in_turn())

    @property
    def oldest(self) -> Queued:
        """The one that came first."""
        heads = [next(iter(line.requests)) for line in self._lines if line.requests]
        return min(heads, key=_ARRIVED)

    def before(self, priority: int) -> Sums:
        """What those add up to that go before a new one of this priority."""
        requests = records = size_bytes = 0
        for line in self._lines[:priority]:
            if line.requests:
                requests += len(line.requests)
                records += line.records
                size_bytes += line.size_bytes
        return Sums(requests, records, size_bytes)

    def put(self, request: Queued) -> None:
        """Adds one."""
        line = self._lines[request.priority - 1]
        line.requests[request] = None
        line.records += request.records
        line.size_bytes += request.size_bytes
        self.requests += 1
        self.records += request.records
        self.size_bytes += request.size_bytes

    def preferred(self, sizes: Collection[int], *, most_records: int) -> int:
        """The largest of these sizes that the next batch can have exactly; 0 if there is none."""
        records = found = 0
        for request in self._in_turn():
            records += request.records
            if records > most_records:
                break
            if records in sizes:
                found = records
        return found

    def take(self, most_records: int, *, done: float) -> tuple[list[Queued], list[Queued]]:
        """Takes the next batch out, and those in front of it whose deadlines pass before the time `done`.

        A batch is of one kind and has no more than `most_records`, or it is a single request.
        """
        batch: list[Queued] = []
        late: list[Queued] = []
        over: list[Queued] = []
        records = 0
        kind: Hashable = None
        for request in self._in_turn():
            if request.is_over:
                over.append(request)
                continue
            deadline = request.deadline
            if deadline is not None and deadline < done:
                late.append(request)
                continue
            if not batch:
                kind = request.kind
            elif records + request.records > most_records or (
                request.kind is not kind and request.kind != kind
            ):
                break
            records += request.records
            batch.append(request)
        self._batches += 1
        if len(batch) + len(late) + len(over) == self.requests:
            self._clear()
        else:
            for request in (*batch, *late, *over):
                self.remove(request)
        return batch, late

    def take_last(self) -> Queued:
        """Takes out the one that came last of the lowest priority."""
        line = next(line for line in reversed(self._lines) if line.requests)
        request = next(reversed(line.requests))
        self.remove(request)
        return request

    def remove(self, request: Queued) -> bool:
        """Takes this one out; whether it was in there."""
        line = self._lines[request.priority - 1]
        if request not in line.requests:
            return False
        del line.requests[request]
        line.records -= request.records
        line.size_bytes -= request.size_bytes
        self.requests -= 1
        self.records -= request.records
        self.size_bytes -= request.size_bytes
        return True

    def _in_turn(self) -> Iterable[Queued]:
        used = [line.requests for line in self._lines if line.requests]
        if len(used) == 1:
            return used[0]
        if self._batches % _AS_THEY_CAME == _AS_THEY_CAME - 1:
            return merge(*used, key=_ARRIVED)
        return chain.from_iterable(used)

    def _clear(self) -> None:
        for line in self._lines:
            if line.requests:
                line.requests.clear()
                line.records = line.size_bytes = 0
        self.requests = self.records = self.size_bytes = 0


class _Line:
    """Requests of one priority. They are keys alone: one that is given up leaves the middle at no cost."""

    __slots__ = ("records", "requests", "size_bytes")

    def __init__(self) -> None:
        self.requests: dict[Queued, None] = {}
        self.records = 0
        self.size_bytes = 0
