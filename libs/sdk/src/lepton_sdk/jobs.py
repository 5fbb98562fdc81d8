"""What all jobs have in common, seen by a client: follow one to its end, and say why it failed."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from lepton.job.v1 import job_pb2
from lepton_common.errors import Cancelled, WrongState
from lepton_common.status import from_status


class Job(Protocol):
    """A resource with the life of a job."""

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> job_pb2.JobStatus: ...


J = TypeVar("J", bound=Job)

FINAL = frozenset(
    {
        job_pb2.JOB_STATE_SUCCEEDED,
        job_pb2.JOB_STATE_FAILED,
        job_pb2.JOB_STATE_CANCELLED,
    },
)


async def wait(updates: AsyncGenerator[J, None], on_update: Callable[[J], None] | None = None) -> J:
    """Follow a job until it has succeeded; `updates` are what a client's `watch` gives.

    Raises:
        LeptonError: the job failed (the class matches the job's error), was cancelled (Cancelled), or its
            service stopped telling of it before it had ended (WrongState).
    """
    last: J | None = None
    async with aclosing(updates):
        async for job in updates:
            last = job
            if on_update is not None:
                on_update(job)
    if last is None:
        raise WrongState("the service told nothing of the job")
    return succeeded(last)


def succeeded(job: J) -> J:
    """The job itself if it succeeded.

    Raises:
        LeptonError: it failed (the class matches its error), was cancelled (Cancelled), or has not ended
            (WrongState).
    """
    if job.status.state not in FINAL:
        raise WrongState(f"{job.name} has not ended: it is {state_name(job).lower()}")
    if job.status.state == job_pb2.JOB_STATE_FAILED:
        raise from_status(job.status.error)
    if job.status.state == job_pb2.JOB_STATE_CANCELLED:
        raise Cancelled(f"{job.name} was cancelled")
    return job


def state_name(job: Job) -> str:
    """The state as users read it. Example: "RUNNING"."""
    return job_pb2.JobState.Name(job.status.state).removeprefix("JOB_STATE_")
