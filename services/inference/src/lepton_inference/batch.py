"""One batch: requests put together, run, and taken apart again. Mostly runs in the model's thread."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol, TypeAlias

import numpy as np

from lepton_inference.statistics import Run
from lepton_inference.tensors import Array

Arrays: TypeAlias = Mapping[str, Array]
Compute: TypeAlias = Callable[[Arrays], Arrays]
"""What a model does: all outputs by name, of inputs by name. It may not keep or change what it is given."""
Prepare: TypeAlias = Callable[[Arrays], Callable[[int], Arrays] | None]
"""Readies a model for inputs in arrays that stay where they are: gives what runs it on the first so many rows
of them, into arrays that stay where they are, too; None where that would gain nothing."""

Empty: TypeAlias = Callable[[Sequence[int], "np.dtype[Any]"], Array]
"""Makes an array of a shape, as `numpy.empty` does."""

# Room for batches is kept from one to the next up to this size.
_MOST_KEPT_BYTES = 64 << 20
# Outputs up to this size are copied at once.
_SMALL_BYTES = 64 << 10
# So many sizes of batches have their views kept.
_MOST_VIEWS = 256


def never(inputs: Arrays) -> None:
    """A `Prepare` that readies nothing."""


class Request(Protocol):
    """One request, as it waits and runs."""

    @property
    def records(self) -> int:
        """How many records it has."""

    @property
    def kind(self) -> Hashable:
        """What two requests must share to be put together, as `kind_of` makes it of their inputs."""

    @property
    def in_place(self) -> bool:
        """Whether a model can take its inputs from where they lie. Others are copied even to run alone: the
        runtime would copy what begins anywhere, and more slowly."""

    def arrays(self) -> Arrays:
        """Its inputs."""

    def fill(self, slots: "Slots", row: int) -> None:
        """Copies its inputs into the rows of a batch from `row` on."""


def kind_of(shapes: Mapping[str, Sequence[int]]) -> Hashable:
    """What requests with inputs of these shapes share with those that they can run together with."""
    return tuple(sorted((name, tuple(shape[1:])) for name, shape in shapes.items()))


class Slots:
    """Room for the inputs of a batch: `arrays` by name, each with a row for each record."""

    def __init__(self, like: Arrays, rows: int, prepare: Prepare = never, *, empty: Empty = np.empty) -> None:
        self.arrays = {name: empty((rows, *array.shape[1:]), array.dtype) for name, array in like.items()}
        self.raw = {
            name: array.reshape(-1).view(np.uint8).data
            for name, array in self.arrays.items()
            if not array.dtype.hasobject
        }
        """The same as bytes; without arrays of objects."""
        self.prepared = prepare(self.arrays)
        """What runs the model on the first so many rows; None where it takes them as others do."""
        self._views: dict[int, Arrays] = {}
        # What `prepared` gave last for so many rows, and what was found out about it.
        self._worked_out: dict[int, tuple[Arrays, dict[Hashable, Any]]] = {}

    @property
    def size_bytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def rows(self, count: int) -> Arrays:
        """The first rows."""
        found = self._views.get(count)
        if found is None:
            if len(self._views) >= _MOST_VIEWS:
                self._views.clear()
            found = self._views[count] = {name: array[:count] for name, array in self.arrays.items()}
        return found

    def worked_out(self, count: int, outputs: Arrays) -> dict[Hashable, Any]:
        """What was found out about these outputs for so many rows: they are mostly those of the last time."""
        found = self._worked_out.get(count)
        if found is None or found[0] is not outputs:
            if len(self._worked_out) >= _MOST_VIEWS:
                self._worked_out.clear()
            found = self._worked_out[count] = outputs, {}
        return found[1]

    def keep_off(self, output: Array) -> Array:
        """An output, or a copy if the next batch changes it: where it is one of those that `prepared` gives,
        or where the model hands its input through."""
        shared = self.prepared or any(np.may_share_memory(output, array) for array in self.arrays.values())
        return output.copy() if shared else output


class Outputs:
    """The outputs of a batch. They are read before the next batch takes the slots of this one.

    Args:
        arrays: by name.
        rows: where the rows of each request begin, and then where those of the last one end.
        slots: what the inputs were in; None where the outputs belong as a whole to the only request.
        runs: what it took.
        worked_out: what requests found out about these outputs, for those of their kind that come after them.
    """

    __slots__ = ("_apart", "_arrays", "_slots", "rows", "runs", "worked_out")

    def __init__(
        self,
        arrays: Arrays,
        rows: Sequence[int],
        slots: Slots | None,
        runs: Sequence[Run] = (),
        worked_out: dict[Hashable, Any] | None = None,
    ) -> None:
        self.rows = rows
        self.runs = runs
        self.worked_out: dict[Hashable, Any] = {} if worked_out is None else worked_out
        self._arrays = arrays
        self._slots = slots
        # Those that the next batch does not change, once somebody wants them.
        self._apart: Arrays | None = None

    def of(self, index: int) -> Arrays:
        """The outputs of one request."""
        if self._slots is None:
            return self._arrays
        if self._apart is None:
            self._apart = {name: self._slots.keep_off(array) for name, array in self._arrays.items()}
        first, last = self.rows[index], self.rows[index + 1]
        return {name: array[first:last] for name, array in self._apart.items()}

    def raw(
        self, name: str, dtype: "np.dtype[Any]", records: int
    ) -> tuple[tuple[int, ...], bytes | memoryview, int]:
        """An output: its shape for a request of so many records, its elements as `dtype`, the bytes of a row.

        What the only request gets as a whole is one row. Elements of outputs that stay where they are come
        as a view, which shows those of every run.
        """
        array = self._arrays[name]
        if array.dtype != dtype:
            array = array.astype(dtype)
        slots = self._slots
        # A copy of a few costs less than a view of them, but a view is good for every run.
        small = array.nbytes <= _SMALL_BYTES and (slots is None or slots.prepared is None)
        data = array.tobytes() if small else np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        shape = array.shape
        if slots is None:
            return shape, data, len(data)
        return (records, *shape[1:]), data, len(data) // self.rows[-1]


class Instance:
    """Where a model runs, on one batch at a time.

    Its slots are used again as long as batches are of one kind and of a size: fresh memory costs more than
    the copy into it.

    Args:
        compute: the model.
        max_batch_size: records of a run. A single request with more of them runs in pieces of that size; 0
            stands for a model without a batch dimension, whose requests come alone.
        prepare: readies it for the slots.
        empty: makes room for its inputs.
    """

    def __init__(
        self,
        compute: Compute,
        max_batch_size: int,
        *,
        prepare: Prepare = never,
        empty: Empty = np.empty,
    ) -> None:
        self._compute = compute
        self._prepare = prepare
        self._empty = empty
        self._max_batch_size = max_batch_size
        self._kind: Hashable = None
        self._slots: Slots | None = None

    def run(self, requests: Sequence[Request], records: int) -> Outputs:
        """Runs the requests together; they have so many records altogether.

        Raises:
            Exception: what the model raises.
        """
        if len(requests) == 1 and (requests[0].in_place or records > self._max_batch_size):
            return self._run_alone(requests[0])
        started = time.perf_counter_ns()
        slots = self._slots_for(requests[0], records)
        rows: Sequence[int] = range(records + 1)
        if records != len(requests):
            rows = [*accumulate((request.records for request in requests), initial=0)]
        for request, row in zip(requests, rows, strict=False):
            request.fill(slots, row)
        joined = time.perf_counter_ns()
        prepared = slots.prepared
        outputs = prepared(records) if prepared else self._compute(slots.rows(records))
        run = Run(records, joined - started, time.perf_counter_ns() - joined)
        return Outputs(outputs, rows, slots, (run,), slots.worked_out(records, outputs) if prepared else None)

    def let_go(self) -> None:
        """Gives back its slots, and what the model keeps for them."""
        self._kind = self._slots = None

    def _run_alone(self, request: Request) -> Outputs:
        pieces: list[Arrays] = []
        runs: list[Run] = []
        for count, inputs in _pieces(request.arrays(), request.records, max_batch_size=self._max_batch_size):
            started = time.perf_counter_ns()
            pieces.append(self._compute(inputs))
            runs.append(Run(count, input_ns=0, infer_ns=time.perf_counter_ns() - started))
        whole = pieces[0]
        if len(pieces) > 1:
            whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in whole}
        return Outputs(whole, (0, 1), None, runs)

    def _slots_for(self, request: Request, rows: int) -> Slots:
        kind = request.kind
        known = kind is self._kind or kind == self._kind
        if known and self._slots is not None and rows <= self._max_batch_size:
            return self._slots
        like = request.arrays()
        most = max(rows, self._max_batch_size)
        if most * sum(array.nbytes // max(1, len(array)) for array in like.values()) > _MOST_KEPT_BYTES:
            return Slots(like, rows)
        slots = Slots(like, most, self._prepare, empty=self._empty)
        self._kind, self._slots = kind, slots
        return slots


def _pieces(inputs: Arrays, records: int, *, max_batch_size: int) -> Iterator[tuple[int, Arrays]]:
    if not max_batch_size or records <= max_batch_size:
        yield records, inputs
        return
    for start in range(0, records, max_batch_size):
        piece = {name: array[start : start + max_batch_size] for name, array in inputs.items()}
        yield min(max_batch_size, records - start), piece
