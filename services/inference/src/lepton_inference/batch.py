"""One batch: requests put together, run, and taken apart again. Mostly runs in the model's thread."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol, TypeAlias

import numpy as np

from lepton_inference.statistics import Timing
from lepton_inference.tensors import Array

Arrays: TypeAlias = Mapping[str, Array]
Run: TypeAlias = Callable[[Arrays], Arrays]

# Room for batches is kept from one to the next up to this size.
_MOST_KEPT_BYTES = 64 << 20


class Request(Protocol):
    """One request, as it waits and runs."""

    @property
    def records(self) -> int:
        """How many records it has."""

    @property
    def kind(self) -> Hashable:
        """What two requests must share to be put together, as `kind_of` makes it of their inputs."""

    def arrays(self) -> Arrays:
        """Its inputs."""

    def fill(self, slots: "Slots", row: int) -> None:
        """Copies its inputs into the rows of a batch from `row` on."""


def kind_of(shapes: Mapping[str, Sequence[int]]) -> Hashable:
    """What requests with inputs of these shapes share with those that they can run together with."""
    return tuple(sorted((name, tuple(shape[1:])) for name, shape in shapes.items()))


class Slots:
    """Room for the inputs of a batch: `arrays` by name, each with a row for each record."""

    def __init__(self, like: Arrays, rows: int) -> None:
        self.arrays = {name: np.empty((rows, *array.shape[1:]), array.dtype) for name, array in like.items()}
        self.raw = {
            name: array.reshape(-1).view(np.uint8).data
            for name, array in self.arrays.items()
            if not array.dtype.hasobject
        }
        """The same as bytes; without arrays of objects."""

    @property
    def size_bytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def rows(self, count: int) -> Arrays:
        """The first rows."""
        return {name: array[:count] for name, array in self.arrays.items()}


class Room:
    """Slots that are used again as long as batches are of one kind and of a size: fresh memory costs more
    than the copy into it."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._kind: Hashable = None
        self._slots: Slots | None = None

    def of(self, requests: Sequence[Request], rows: int) -> Slots:
        """Slots for these requests, until the next ones."""
        kind = requests[0].kind
        if self._slots is not None and kind == self._kind and rows <= self._most_rows:
            return self._slots
        like = requests[0].arrays()
        slots = Slots(like, max(rows, self._most_rows))
        if slots.size_bytes > _MOST_KEPT_BYTES:
            return Slots(like, rows)
        self._kind, self._slots = kind, slots
        return slots


class Outputs:
    """The outputs of a batch.

    Args:
        arrays: by name.
        bounds: the rows of each request, in order; None where everything belongs to the only one.
    """

    def __init__(self, arrays: Arrays, bounds: Sequence[tuple[int, int]] | None) -> None:
        self._arrays = arrays
        self._bounds = bounds
        self._raw: dict[str, tuple[tuple[int, ...], memoryview, int]] = {}

    def of(self, index: int) -> Arrays:
        """The outputs of one request."""
        if self._bounds is None:
            return self._arrays
        first, last = self._bounds[index]
        return {name: array[first:last] for name, array in self._arrays.items()}

    def raw(self, index: int, name: str, dtype: "np.dtype[np.generic]") -> tuple[tuple[int, ...], memoryview]:
        """An output of one request: its shape, and the bytes of its elements as `dtype`."""
        found = self._raw.get(name)
        if found is None:
            array = np.ascontiguousarray(self._arrays[name], dtype)
            row_bytes = array.nbytes // len(array) if array.ndim and len(array) else 0
            found = self._raw[name] = (
                self._arrays[name].shape,
                array.reshape(-1).view(np.uint8).data,
                row_bytes,
            )
        shape, data, row_bytes = found
        if self._bounds is None:
            return shape, data
        first, last = self._bounds[index]
        return (last - first, *shape[1:]), data[first * row_bytes : last * row_bytes]


@dataclass(frozen=True)
class BatchResult:
    """Outputs by request, and the runs it took with their records."""

    outputs: Outputs
    runs: list[tuple[int, Timing]]

    def timing(self) -> Timing:
        """The times of each request of the batch: it took part in all of its runs."""
        if len(self.runs) == 1:
            return self.runs[0][1]
        return Timing(
            input_ns=sum(timing.input_ns for _, timing in self.runs),
            infer_ns=sum(timing.infer_ns for _, timing in self.runs),
            output_ns=sum(timing.output_ns for _, timing in self.runs),
        )


def run_batch(run: Run, requests: Sequence[Request], max_batch_size: int, room: Room) -> BatchResult:
    """Runs the requests together.

    A single request with more than `max_batch_size` records runs in pieces of that size; 0
    stands for a model without a batch dimension, whose requests come alone.
    """
    if len(requests) > 1:
        started = time.perf_counter_ns()
        bounds = list(pairwise(accumulate((request.records for request in requests), initial=0)))
        records = bounds[-1][1]
        slots = room.of(requests, records)
        for request, (row, _) in zip(requests, bounds, strict=True):
            request.fill(slots, row)
        joined = time.perf_counter_ns()
        outputs = run(slots.rows(records))
        ran = time.perf_counter_ns()
        # Where the model hands its input through, the next batch must not change what this one gave.
        outputs = {name: _apart_from(slots, array) for name, array in outputs.items()}
        timing = Timing(joined - started, ran - joined, time.perf_counter_ns() - ran)
        return BatchResult(Outputs(outputs, bounds), [(records, timing)])
    pieces: list[Arrays] = []
    runs: list[tuple[int, Timing]] = []
    [request] = requests
    for count, inputs in _pieces(request.arrays(), request.records, max_batch_size=max_batch_size):
        started = time.perf_counter_ns()
        pieces.append(run(inputs))
        runs.append((count, Timing(0, time.perf_counter_ns() - started, 0)))
    if len(pieces) == 1:
        return BatchResult(Outputs(pieces[0], None), runs)
    whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return BatchResult(Outputs(whole, None), runs)


def _apart_from(slots: Slots, output: Array) -> Array:
    shared = any(np.may_share_memory(output, array) for array in slots.arrays.values())
    return output.copy() if shared else output


def _pieces(inputs: Arrays, records: int, *, max_batch_size: int) -> Iterator[tuple[int, Arrays]]:
    if not max_batch_size or records <= max_batch_size:
        yield records, inputs
        return
    for start in range(0, records, max_batch_size):
        piece = {name: array[start : start + max_batch_size] for name, array in inputs.items()}
        yield min(max_batch_size, records - start), piece
