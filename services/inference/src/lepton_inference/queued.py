"""Requests that wait for a model."""

import asyncio
import time
from collections.abc import Hashable
from itertools import islice
from typing import Protocol

from lepton_inference.batch import Arrays, Outputs, Request, Slots, kind_of


class Queued(Request, Protocol):
    """A request with its deadline, and with somebody who waits for it."""

    arrived: float
    """Of `time.monotonic`."""

    @property
    def deadline(self) -> float | None:
        """When an answer is of no use any more, of `time.monotonic`; None for never."""

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

    def __init__(self, inputs: Arrays, records: int, deadline: float | None) -> None:
        self.records = records
        self.deadline = deadline
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


class Queue:
    """Requests in the order they came, with what they add up to."""

    def __init__(self) -> None:
        # Keys alone: one that is given up is taken out of the middle at no cost.
        self._requests: dict[Queued, None] = {}
        self.records = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def oldest(self) -> Queued:
        """The one that came first."""
        return next(iter(self._requests))

    def put(self, request: Queued) -> None:
        """Adds one."""
        self._requests[request] = None
        self.records += request.records
        self.size_bytes += request.size_bytes

    def take(self, most_records: int, *, done: float) -> tuple[list[Queued], list[Queued]]:
        """Takes the next batch out, and those in front of it whose deadlines pass before the time `done`.

        A batch is of one kind and has no more than `most_records`, or it is a single request.
        """
        batch: list[Queued] = []
        late: list[Queued] = []
        records = taken = 0
        kind: Hashable = None
        for request in self._requests:
            if not request.is_over:
                deadline = request.deadline
                if deadline is not None and deadline < done:
                    late.append(request)
                elif not batch:
                    kind = request.kind
                    records = request.records
                    batch.append(request)
                else:
                    records += request.records
                    if records > most_records or (request.kind is not kind and request.kind != kind):
                        break
                    batch.append(request)
            taken += 1
        if taken == len(self._requests):
            self._requests.clear()
            self.records = self.size_bytes = 0
        else:
            for request in [*islice(self._requests, taken)]:
                self.remove(request)
        return batch, late

    def remove(self, request: Queued) -> bool:
        """Takes this one out; whether it was in there."""
        if request not in self._requests:
            return False
        del self._requests[request]
        self.records -= request.records
        self.size_bytes -= request.size_bytes
        return True
