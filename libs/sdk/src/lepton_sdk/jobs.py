"""What all jobs have in common, seen by a client: follow one to its end, and say why it failed."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

from lepton.job.v1 import job_pb2
from lepton_common.errors import Cancelled
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


async def wait(updates: AsyncIterator[J], on_update: Callable[[J], None] | None = None) -> J:
    """Follow a job until it has succeeded.

    Raises:
        LeptonError: the job failed (the class matches the job's error) or was cancelled (Cancelled).
    """
    last: J | None = None
    async for job in updates:
        last = job
        if on_update is not None:
            on_update(job)
    if last is None:
        raise Cancelled("the job was deleted")
    return succeeded(last)


def succeeded(job: J) -> J:
    """The job itself if it succeeded, else its failure as an exception."""
    if job.status.state == job_pb2.JOB_STATE_FAILED:
        raise from_status(job.status.error)
    if job.status.state == job_pb2.JOB_STATE_CANCELLED:
        raise Cancelled(f"{job.name} was cancelled")
    return job


def state_name(job: Job) -> str:
    """The state as users read it. Example: "RUNNING"."""
    return job_pb2.JobState.Name(job.status.state).removeprefix("JOB_STATE_")
