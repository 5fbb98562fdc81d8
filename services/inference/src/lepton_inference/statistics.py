"""What a version has answered and how long each stage took, as the statistics extension counts it."""

import time
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Duration:
    """How often something happened and how long it took altogether, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Counts one more that took `ns`."""
        self.count += 1
        self.ns += ns


@dataclass(frozen=True)
class Timing:
    """How long the stages of one request took, in nanoseconds; batched requests share all but `queue_ns`."""

    queue_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int


@dataclass
class Stages:
    """The stages of computing, over requests or over runs of the model."""

    input: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    output: Duration = field(default_factory=Duration)

    def add(self, timing: Timing) -> None:
        """Counts one more."""
        self.input.add(timing.input_ns)
        self.infer.add(timing.infer_ns)
        self.output.add(timing.output_ns)


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

    def answered(self, records: int, total_ns: int, *, timing: Timing) -> None:
        """A request with so many records was answered."""
        self.records += records
        self.success.add(total_ns)
        self.queue.add(timing.queue_ns)
        self.requests.add(timing)

    def failed(self, total_ns: int) -> None:
        """A request was refused or failed."""
        self.fail.add(total_ns)

    def ran(self, records: int, timing: Timing) -> None:
        """The model ran on a batch of so many records."""
        self.runs[records].add(timing)
