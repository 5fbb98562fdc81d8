"""One batch: requests put together, run, and taken apart again. Runs in the model's thread."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np

from lepton_inference.statistics import Timing
from lepton_inference.tensors import Array

Arrays: TypeAlias = Mapping[str, Array]
Run: TypeAlias = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Answer:
    """What a request gets: outputs by name, and how long it took to make them."""

    outputs: Arrays
    timing: Timing


@dataclass(frozen=True)
class BatchResult:
    """Outputs by request, and the runs it took with their records."""

    outputs: list[Arrays]
    runs: list[tuple[int, Timing]]

    def timing(self, queue_ns: int) -> Timing:
        """The times of a request of the batch that waited so long: it took part in all of its runs."""
        return Timing(
            queue_ns,
            input_ns=sum(timing.input_ns for _, timing in self.runs),
            infer_ns=sum(timing.infer_ns for _, timing in self.runs),
            output_ns=sum(timing.output_ns for _, timing in self.runs),
        )


def run_batch(
    run: Run, requests: Sequence[Arrays], records: Sequence[int], max_batch_size: int
) -> BatchResult:
    """Runs the requests together; `records` says how many each has.

    A single request with more than `max_batch_size` records runs in pieces of that size; 0
    stands for a model without a batch dimension, whose requests come alone.
    """
    if len(requests) > 1:
        started = time.perf_counter_ns()
        together = {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
        joined = time.perf_counter_ns()
        outputs = run(together)
        ran = time.perf_counter_ns()
        bounds = list(pairwise(accumulate(records, initial=0)))
        apart: list[Arrays] = [{name: array[a:b] for name, array in outputs.items()} for a, b in bounds]
        timing = Timing(0, joined - started, ran - joined, time.perf_counter_ns() - ran)
        return BatchResult(apart, [(sum(records), timing)])
    pieces: list[Arrays] = []
    runs: list[tuple[int, Timing]] = []
    for count, inputs in _pieces(requests[0], records[0], max_batch_size=max_batch_size):
        started = time.perf_counter_ns()
        pieces.append(run(inputs))
        runs.append((count, Timing(0, 0, time.perf_counter_ns() - started, 0)))
    if len(pieces) == 1:
        return BatchResult(pieces, runs)
    whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return BatchResult([whole], runs)


def _pieces(inputs: Arrays, records: int, *, max_batch_size: int) -> Iterator[tuple[int, Arrays]]:
    if not max_batch_size or records <= max_batch_size:
        yield records, inputs
        return
    for start in range(0, records, max_batch_size):
        piece = {name: array[start : start + max_batch_size] for name, array in inputs.items()}
        yield min(max_batch_size, records - start), piece
