"""The port to where workers run.

A launcher keeps no memory of its own that matters: what it runs can be told from the job's key
and the attempt alone, by this process or by the one that comes after it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from lepton.job.v1 import job_pb2
from lepton_common.errors import LeptonError

RESTART_EXIT_CODE = 75
"""A worker that exits with it has no outcome, and another attempt may have one (EX_TEMPFAIL)."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What the workers of a job ask of a cluster; a single machine has nothing to choose from.

    Attributes:
        gpus: GPUs of each worker.
        gpu_product: The GPU it must be, as the nodes' labels have it. Example: "NVIDIA-H100-80GB-HBM3".
        queue: The queue that decides when the job may start.
        priority_class: Name of the priority class of its pods.
        deadline_seconds: After so many seconds, waiting included, the job fails; 0: never.
    """

    gpus: int = 0
    gpu_product: str = ""
    queue: str = ""
    priority_class: str = ""
    deadline_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One attempt to be started.

    Attributes:
        job: The job's key: unique over all time, segments joined by `/`.
        attempt: Number of the attempt, from 1.
        module: The Python module whose `__main__` part does the work.
        environment: Variables that every worker gets. The launcher adds those that only it knows:
            `LEPTON_ATTEMPT`, `LEPTON_WORKER_INDEX`, `LEPTON_RUN_DIRECTORY` and, where workers work
            together, `LEPTON_PEERS`.
        workers: How many workers work together.
        placement: Where they may run.
    """

    job: str
    attempt: int
    module: str
    environment: Mapping[str, str]
    workers: int = 1
    placement: Placement = field(default_factory=Placement)


class Phase(StrEnum):
    """What a launcher sees of an attempt."""

    ABSENT = "absent"
    """Not all of its workers were started, or they were suspended; `start` starts those that are missing."""

    RUNNING = "running"
    """Its workers run, or wait for a place to run."""

    ENDED = "ended"
    """All its workers have ended, or one has failed and the others cannot go on without it."""


@dataclass(frozen=True)
class Observation:
    """An attempt as a launcher sees it.

    Attributes:
        phase: Whether it runs.
        message: How it ended, for a person, or what it waits for. Example: "worker 0 was killed".
        log: The last lines that a failed worker wrote, for the service's own log.
        attempt: Which attempt it is now, where lost workers are started anew without being asked for; 0 where
            they are not. If it is another one than was asked about, `message` says how the one before ended.
        error: Why there will be no other attempt; None where one may be asked for.
    """

    phase: Phase
    message: str = ""
    log: str = ""
    attempt: int = 0
    error: LeptonError | None = None


LOG_BYTES = 1024 * 1024
"""How much of a worker's log is kept to be read: its end."""


@dataclass(frozen=True)
class Log:
    """What a worker wrote.

    Attributes:
        worker: Which one, for a person. Example: "attempt 2, worker 0".
        text: The last of it, at most `LOG_BYTES`.
    """

    worker: str
    text: str


class Launcher(Protocol):
    """Starts workers, sees whether they run, and ends them."""

    async def start(self, launch: Launch) -> None:
        """Start what is not there yet of an attempt; nothing of one that was started or stopped."""

    async def observe(self, job: str, attempt: int) -> Observation:
        """Look at an attempt."""

    async def stop(self, job: str, attempt: int, *, done: bool = False) -> None:
        """End what still runs of an attempt and free its scratch space; it cannot start any more.

        Workers are asked with SIGTERM and, after a grace, killed. Returns when all have ended.

        Args:
            job: The job's key.
            attempt: Which attempt.
            done: Whether its outcome is there, so that its workers are about to end by themselves.
        """

    async def suspend(self, job: str, attempt: int) -> int:
        """End what still runs of an attempt, as `stop` does, so that `start` begins the next one.

        It may be called again. Returns, when all workers have ended, how many attempts of the job workers
        have begun: where they are not told their number, fewer may be than were asked for.

        Raises:
            WrongState: Somebody else decides when the job runs.
        """

    async def clean(self, job: str) -> None:
        """Remove every trace of a job, logs included, and end what still runs of it."""

    async def logs(self, job: str) -> list[Log]:
        """Return what the workers of a job wrote, also of those that are gone."""

    async def show(self, job: str, status: job_pb2.JobStatus) -> None:
        """Show the state of a job to whoever looks at its workers, where there is a place for that."""

    def listen(self, changed: Callable[[str], None]) -> None:
        """Call `changed` with the key of a job, in the event loop, when it should be looked at.

        Jobs are looked at now and then all the same; a launcher that hears of nothing calls nobody.
        """
