"""What a version has answered and how long each stage took, as the statistics extension counts it."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

BUCKET_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Times are counted by the first of these that they do not exceed, or as longer ones."""


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

    def add(self, input_ns: int, infer_ns: int, output_ns: int, *, times: int = 1) -> None:
        """Counts one more, or more `times` that took as long each."""
        self.count += times
        self.input_ns += times * input_ns
        self.infer_ns += times * infer_ns
        self.output_ns += times * output_ns


def _no_counts() -> list[int]:
    return [0] * (len(BUCKET_SECONDS) + 1)


@dataclass(slots=True)
class Statistics:
    """Counts and times of one version under one endpoint, since it was loaded.

    Requests that were answered are also counted by how long they waited, computed, and took altogether:
    lists with a count for each of `BUCKET_SECONDS` and one for longer times. Failures are counted by reason.
    """

    requests: Stages = field(default_factory=Stages)
    runs: dict[int, Stages] = field(default_factory=lambda: defaultdict(Stages))
    records: int = 0
    last_arrived: float = 0.0
    """When the last request came, of `time.monotonic`; 0 before the first."""
    failures: Counter[str] = field(default_factory=Counter)
    queue_counts: list[int] = field(default_factory=_no_counts)
    compute_counts: list[int] = field(default_factory=_no_counts)
    total_counts: list[int] = field(default_factory=_no_counts)
    _total_ns: int = 0
    _queue_ns: int = 0
    _found: int = 0
    _found_ns: int = 0
    _missed: int = 0
    _missed_ns: int = 0
    _failed_ns: int = 0

    @property
    def success(self) -> Duration:
        """Requests that were answered, also from the cache, from when they came."""
        return Duration(self.requests.count + self._found, self._total_ns + self._found_ns)

    @property
    def queue(self) -> Duration:
        """How long those had waited; what is in the cache waits for nothing."""
        return Duration(self.requests.count + self._found, self._queue_ns)

    @property
    def cache_hit(self) -> Duration:
        """Requests that were answered from the cache."""
        return Duration(self._found, self._found_ns)

    @property
    def cache_miss(self) -> Duration:
        """Requests that were not in the cache, and how long they were looked for."""
        return Duration(self._missed, self._missed_ns)

    @property
    def fail(self) -> Duration:
        """Requests that were refused or failed."""
        return Duration(sum([*self.failures.values()]), self._failed_ns)

    @property
    def last_request_ms(self) -> int:
        """When the last request came, since the epoch; 0 before the first."""
        return int(1000 * (time.time() - time.monotonic() + self.last_arrived)) if self.last_arrived else 0

    @property
    def run_count(self) -> int:
        """How often the model ran."""
        return sum(stages.count for stages in [*self.runs.values()])

    @property
    def run_ns(self) -> int:
        """How long it ran altogether, in nanoseconds."""
        return sum(stages.infer_ns for stages in [*self.runs.values()])

    def answered(
        self, arrivals: Sequence[float], records: int, runs: Sequence[Run], *, started: float, ended: float
    ) -> None:
        """Requests that came at these times were answered together.

        They ran from `started`, and had their answers when the time was `ended`, in seconds of one clock.
        Each took part in all runs: more than one where the only request runs in pieces.
        """
        count = len(arrivals)
        _, input_ns, infer_ns = runs[0]
        for run in runs[1:]:
            input_ns += run.input_ns
            infer_ns += run.infer_ns
        seconds = ended - started
        taken_ns = int(seconds * 1e9)
        output_ns = max(0, taken_ns - input_ns - infer_ns)
        for run in runs:
            self.runs[run.records].add(run.input_ns, run.infer_ns, output_ns // len(runs))
        self.requests.add(input_ns, infer_ns, output_ns, times=count)
        self.records += records
        queue_ns = int((count * started - sum(arrivals)) * 1e9)
        self._queue_ns += queue_ns
        self._total_ns += queue_ns + count * taken_ns
        self.compute_counts[bisect_left(BUCKET_SECONDS, seconds)] += count
        _count_times(self.queue_counts, arrivals, started)
        _count_times(self.total_counts, arrivals, ended)

    def found(self, arrived: float) -> None:
        """A request that came then was answered from the cache."""
        self.last_arrived = arrived
        self._found += 1
        seconds = time.monotonic() - arrived
        self._found_ns += int(seconds * 1e9)
        self.total_counts[bisect_left(BUCKET_SECONDS, seconds)] += 1

    def missed(self, arrived: float) -> None:
        """A request that came then was not in the cache."""
        self._missed += 1
        self._missed_ns += int((time.monotonic() - arrived) * 1e9)

    def failed(self, arrived: float, reason: str) -> None:
        """A request that came then was refused or failed."""
        self.failures[reason] += 1
        self._failed_ns += int((time.monotonic() - arrived) * 1e9)


def _count_times(counts: list[int], arrivals: Sequence[float], moment: float) -> None:
    """Counts the times from these arrivals until a moment: mostly all are of one bucket."""
    if not arrivals:
        return
    bucket = bisect_left(BUCKET_SECONDS, moment - min(arrivals))
    if len(arrivals) == 1 or bisect_left(BUCKET_SECONDS, moment - max(arrivals)) == bucket:
        counts[bucket] += len(arrivals)
        return
    for arrived in arrivals:
        counts[bisect_left(BUCKET_SECONDS, moment - arrived)] += 1
