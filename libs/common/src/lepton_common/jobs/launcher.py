"""The port to where workers run.

A launcher keeps no memory of its own that matters: what it runs can be told from the job's key
and the attempt alone, by this process or by the one that comes after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

RESTART_EXIT_CODE = 75
"""A worker that exits with it has no outcome, and another attempt may have one (EX_TEMPFAIL)."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One attempt to be started.

    Attributes:
        job: The job's key: unique over all time, segments joined by `/`.
        attempt: Number of the attempt, from 1.
        module: The Python module whose `__main__` part does the work.
        environment: Variables that every worker gets. The launcher adds those that only it knows:
            `LEPTON_WORKER_INDEX`, `LEPTON_RUN_DIRECTORY` and, where workers work together,
            `LEPTON_PEERS`.
        workers: How many workers work together.
    """

    job: str
    attempt: int
    module: str
    environment: Mapping[str, str]
    workers: int = 1


class Phase(StrEnum):
    """What a launcher sees of an attempt."""

    ABSENT = "absent"
    """Not all of its workers were started; `start` starts those that are missing."""

    RUNNING = "running"
    """Its workers run."""

    ENDED = "ended"
    """All its workers have ended, or one has failed and the others cannot go on without it."""


@dataclass(frozen=True)
class Observation:
    """An attempt as a launcher sees it.

    Attributes:
        phase: Whether it runs.
        message: How it ended, for a person. Example: "worker 0 was killed".
        log: The last lines that a failed worker wrote, for the service's own log.
    """

    phase: Phase
    message: str = ""
    log: str = ""


class Launcher(Protocol):
    """Starts workers, sees whether they run, and ends them."""

    async def start(self, launch: Launch) -> None:
        """Start what is not there yet of an attempt; nothing of one that was started or stopped."""

    async def observe(self, job: str, attempt: int) -> Observation:
        """Look at an attempt."""

    async def stop(self, job: str, attempt: int) -> None:
        """End what still runs of an attempt and free its scratch space; it cannot start any more.

        Workers are asked with SIGTERM and, after a grace, killed. Returns when all have ended.
        """

    async def clean(self, job: str) -> None:
        """Remove every trace of a job, logs included, and end what still runs of it."""
