"""What a version has answered and how long each stage took, as the statistics extension counts it.

Counting a request takes a good part of what a small model takes to answer it. Batches are counted together,
which takes a third of that.
"""

import time
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import numpy as np

BUCKET_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Times are counted by the first of these that they do not exceed, or as longer ones."""

_Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_BUCKETS = np.array(BUCKET_SECONDS)
# So many batches are counted together, in a tenth of a millisecond.
_TOGETHER = 128


@dataclass(frozen=True)
class Duration:
    """How often something happened and how long it took altogether, in nanoseconds."""

    count: int
    ns: int


class Run(NamedTuple):
    """A run of the model on so many records: how long its inputs took and it itself, in nanoseconds."""

    records: int
    input_ns: int
    infer_ns: int


@dataclass(slots=True)
class Stages:
    """The stages of computing, in nanoseconds altogether, over so many requests or runs of the model."""

    count: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    @property
    def ns(self) -> int:
        """All stages."""
        return self.input_ns + self.infer_ns + self.output_ns

    @property
    def input(self) -> Duration:
        """Putting inputs together."""
        return Duration(self.count, self.input_ns)

    @property
    def infer(self) -> Duration:
        """Running."""
        return Duration(self.count, self.infer_ns)

    @property
    def output(self) -> Duration:
        """Giving outputs to who waits for them."""
        return Duration(self.count, self.output_ns)

    def add(self, count: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Counts so many more, which took so long altogether."""
        self.count += count
        self.input_ns += input_ns
        self.infer_ns += infer_ns
        self.output_ns += output_ns


def _no_counts() -> list[int]:
    return [0] * (len(BUCKET_SECONDS) + 1)


@dataclass(slots=True)
class Counts:
    """Counts and times of one version under one endpoint, since it was loaded.

    Requests that were answered are also counted by how long they waited, computed, and took altogether:
    lists with a count for each of `BUCKET_SECONDS` and one for longer times. Failures are counted by reason.
    """

    requests: Stages = field(default_factory=Stages)
    runs: dict[int, Stages] = field(default_factory=lambda: defaultdict(Stages))
    records: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    failed_ns: int = 0
    queue_counts: list[int] = field(default_factory=_no_counts)
    compute_counts: list[int] = field(default_factory=_no_counts)
    total_counts: list[int] = field(default_factory=_no_counts)
    total_ns: int = 0
    queue_ns: int = 0
    found: int = 0
    found_ns: int = 0
    missed: int = 0
    missed_ns: int = 0

    @property
    def success(self) -> Duration:
        """Requests that were answered, also from the cache, from when they came."""
        return Duration(self.requests.count + self.found, self.total_ns + self.found_ns)

    @property
    def queue(self) -> Duration:
        """How long those had waited; what is in the cache waits for nothing."""
        return Duration(self.requests.count + self.found, self.queue_ns)

    @property
    def cache_hit(self) -> Duration:
        """Requests that were answered from the cache."""
        return Duration(self.found, self.found_ns)

    @property
    def cache_miss(self) -> Duration:
        """Requests that were not in the cache, and how long they were looked for."""
        return Duration(self.missed, self.missed_ns)

    @property
    def fail(self) -> Duration:
        """Requests that were refused or failed."""
        return Duration(sum([*self.failures.values()]), self.failed_ns)

    @property
    def run_count(self) -> int:
        """How often the model ran."""
        return sum(stages.count for stages in [*self.runs.values()])

    @property
    def run_ns(self) -> int:
        """How long it ran altogether, in nanoseconds."""
        return sum(stages.infer_ns for stages in [*self.runs.values()])


_Batch: TypeAlias = tuple[Sequence[float], int, Sequence[Run], float, float]


class Statistics:
    """Takes what happens to the requests of one version, and counts it. Threads may read."""

    def __init__(self) -> None:
        self.last_arrived = 0.0
        """When the last request came, of `time.monotonic`; 0 before the first."""
        self._counts = Counts()
        self._uncounted: deque[_Batch] = deque()
        self._counting = Lock()

    @property
    def last_request_ms(self) -> int:
        """When the last request came, since the epoch; 0 before the first."""
        return int(1000 * (time.time() - time.monotonic() + self.last_arrived)) if self.last_arrived else 0

    def counts(self) -> Counts:
        """The figures of now. They go on."""
        with self._counting:
            if self._uncounted:
                self._count([self._uncounted.popleft() for _ in range(len(self._uncounted))])
        return self._counts

    def answered(
        self, arrivals: Sequence[float], records: int, runs: Sequence[Run], *, started: float, ended: float
    ) -> None:
        """Requests that came at these times were answered together.

        They ran from `started`, and had their answers when the time was `ended`, in seconds of one clock.
        Each took part in all runs: more than one where the only request runs in pieces.
        """
        self._uncounted.append((arrivals, records, runs, started, ended))
        if len(self._uncounted) >= _TOGETHER:
            self.counts()

    def found(self, arrived: float) -> None:
        """A request that came then was answered from the cache."""
        self.last_arrived = arrived
        seconds = time.monotonic() - arrived
        counts = self._counts
        counts.found += 1
        counts.found_ns += int(seconds * 1e9)
        counts.total_counts[bisect_left(BUCKET_SECONDS, seconds)] += 1

    def missed(self, arrived: float) -> None:
        """A request that came then was not in the cache."""
        self._counts.missed += 1
        self._counts.missed_ns += int((time.monotonic() - arrived) * 1e9)

    def failed(self, arrived: float, reason: str) -> None:
        """A request that came then was refused or failed."""
        self._counts.failures[reason] += 1
        self._counts.failed_ns += int((time.monotonic() - arrived) * 1e9)

    def _count(self, batches: Sequence[_Batch]) -> None:
        arrivals, records, runs, starts, ends = zip(*batches, strict=True)
        counts = self._counts
        started, ended = np.array(starts), np.array(ends)
        seconds = ended - started
        requests = np.array([len(each) for each in arrivals])
        # One row for each run, and the place of its batch.
        sizes, input_ns, infer_ns = np.array([*chain.from_iterable(runs)]).T
        pieces = np.array([len(each) for each in runs])
        batch = np.repeat(np.arange(len(batches)), pieces)

        taken_ns = (seconds * 1e9).astype(np.int64)
        batch_input_ns = _sums(batch, input_ns)
        batch_infer_ns = _sums(batch, infer_ns)
        output_ns = np.maximum(taken_ns - batch_input_ns - batch_infer_ns, 0)
        counts.requests.add(
            int(requests.sum()),
            int(requests @ batch_input_ns),
            int(requests @ batch_infer_ns),
            int(requests @ output_ns),
        )
        counts.records += sum(records)
        run_output_ns = (output_ns // pieces)[batch]
        for size in np.unique(sizes):
            these = sizes == size
            counts.runs[int(size)].add(
                int(these.sum()),
                int(input_ns[these].sum()),
                int(infer_ns[these].sum()),
                int(run_output_ns[these].sum()),
            )

        arrived = np.array([*chain.from_iterable(arrivals)])
        waited = np.repeat(started, requests) - arrived
        queue_ns = int(waited.sum() * 1e9)
        counts.queue_ns += queue_ns
        counts.total_ns += queue_ns + int(requests @ taken_ns)
        _add_times(counts.compute_counts, np.repeat(seconds, requests))
        _add_times(counts.queue_counts, waited)
        _add_times(counts.total_counts, np.repeat(ended, requests) - arrived)


def _sums(places: _Numbers, numbers: _Numbers) -> _Numbers:
    """The sums of the numbers of each place."""
    return np.bincount(places, weights=numbers).astype(np.int64)


def _add_times(counts: list[int], seconds: _Numbers) -> None:
    buckets = np.searchsorted(_BUCKETS, seconds)
    for bucket, count in enumerate(np.bincount(buckets)):
        counts[bucket] += int(count)
