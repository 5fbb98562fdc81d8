"""What a version has answered and how long each stage took, as the statistics extension counts it."""

import time
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Duration:
    """How often something happened and how long it took altogether, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, *, times: int = 1) -> None:
        """Counts one more, or more `times`, that took `ns` altogether."""
        self.count += times
        self.ns += ns


@dataclass(frozen=True)
class Timing:
    """How long the stages of a run took, in nanoseconds; batched requests share them."""

    input_ns: int
    infer_ns: int
    output_ns: int


@dataclass
class Stages:
    """The stages of computing, over requests or over runs of the model."""

    input: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    output: Duration = field(default_factory=Duration)

    def add(self, timing: Timing, *, times: int = 1) -> None:
        """Counts one more, or more `times` that took as long each."""
        self.input.add(times * timing.input_ns, times=times)
        self.infer.add(times * timing.infer_ns, times=times)
        self.output.add(times * timing.output_ns, times=times)


@dataclass
class Statistics:
    """Counts and times of one version under one endpoint, since it was loaded."""

    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    requests: Stages = field(default_factory=Stages)
    runs: dict[int, Stages] = field(default_factory=lambda: defaultdict(Stages))
    records: int = 0
    last_request_ms: int = 0

    @property
    def run_count(self) -> int:
        """How often the model ran."""
        return sum(stages.infer.count for stages in [*self.runs.values()])

    @property
    def run_ns(self) -> int:
        """How long it ran altogether, in nanoseconds."""
        return sum(stages.infer.ns for stages in [*self.runs.values()])

    def arrived(self) -> None:
        """A request came."""
        self.last_request_ms = time.time_ns() // 1_000_000

    def answered(self, requests: int, records: int, *, total_ns: int, queue_ns: int, timing: Timing) -> None:
        """So many requests were answered together.

        `total_ns` and `queue_ns` are what they took and waited altogether, `timing` is that of each.
        """
        self.records += records
        self.success.add(total_ns, times=requests)
        self.queue.add(queue_ns, times=requests)
        self.requests.add(timing, times=requests)

    def failed(self, total_ns: int) -> None:
        """A request was refused or failed."""
        self.fail.add(total_ns)

    def ran(self, records: int, timing: Timing) -> None:
        """The model ran on a batch of so many records."""
        self.runs[records].add(timing)
