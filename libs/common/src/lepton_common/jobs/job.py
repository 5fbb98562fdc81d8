"""The life of a job: the steps that lead from one state to the next, as plain functions.

Each changes a `JobStatus` in place, and raises `WrongState` and changes nothing where the step
does not lead on from the state that the job is in. Inside `Collection.update` that makes a step
atomic: of two that race, the second sees what the first has written.
"""

from collections.abc import Sequence
from typing import Protocol

from google.rpc import status_pb2

from lepton.job.v1 import job_pb2
from lepton_common.errors import LeptonError, WorkerLost, WrongState
from lepton_common.records.kind import Resource
from lepton_common.status import to_status

ACTIVE = "active"
"""Index value of the jobs that the controller has to look at."""

ENDED = "ended"
"""Index value of the jobs in a final state."""

_WAITING = "waiting: "

_STOPPING = "waiting for the worker to stop"

_WORKING = (job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_CANCELLING, job_pb2.JOB_STATE_SUSPENDING)
"""States in which a worker may run, or have just ended."""

_FINAL = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED})


class Job(Resource, Protocol):
    """A resource that is a job: what the messages of all kinds of jobs have in common."""

    @property
    def status(self) -> job_pb2.JobStatus:
        """Its life so far."""


def key(job: Job) -> str:
    """Return what tells a job from every other, even from a deleted one of its name."""
    return f"{job.name}/{job.uid}"


def index(job: Job) -> str:
    """Return `ACTIVE` or `ENDED`: the index of a collection of jobs."""
    return ENDED if is_final(job.status.state) else ACTIVE


def is_final(state: job_pb2.JobState.ValueType) -> bool:
    """Say whether a job in `state` stays there."""
    return state in _FINAL


def queued() -> job_pb2.JobStatus:
    """Return the status of a job that was accepted just now."""
    return job_pb2.JobStatus(state=job_pb2.JOB_STATE_QUEUED)


def start(status: job_pb2.JobStatus, *, begun: int | None = None) -> None:
    """Begin the next attempt: QUEUED to RUNNING.

    Args:
        status: A QUEUED job's.
        begun: How many attempts workers have begun, where that may be fewer than were asked for.
    """
    _require(status, job_pb2.JOB_STATE_QUEUED)
    status.state = job_pb2.JOB_STATE_RUNNING
    status.attempt = (status.attempt if begun is None else begun) + 1
    go_on(status)
    if not status.HasField("start_time"):
        status.start_time.GetCurrentTime()


def advance(
    status: job_pb2.JobStatus, progress: job_pb2.Progress, metrics: Sequence[job_pb2.MetricSeries]
) -> None:
    """Take over what the worker reports; a job that is not at work keeps what it has."""
    if status.state not in _WORKING:
        return
    status.progress.CopyFrom(progress)
    del status.metrics[:]
    status.metrics.extend(metrics)
    go_on(status)


def wait(status: job_pb2.JobStatus, reason: str) -> None:
    """Say what holds up a job until its next step.

    Args:
        status: Of a job that is QUEUED, or whose worker does not run (any more).
        reason: For a person. Example: "the registry does not answer".
    """
    _require(status, job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUSPENDING)
    status.message = f"{_WAITING}{reason}"


def waits_for(status: job_pb2.JobStatus) -> str:
    """Return what holds up a job; empty where nothing does."""
    return status.message.removeprefix(_WAITING) if status.message.startswith(_WAITING) else ""


def go_on(status: job_pb2.JobStatus) -> None:
    """Say that nothing holds up a job any more."""
    if status.message.startswith(_WAITING):
        status.message = ""


def restarted(status: job_pb2.JobStatus, attempt: int, cause: str) -> None:
    """Take over that lost workers were started anew without being asked for.

    Args:
        status: Of a RUNNING job, or of one that is being cancelled or suspended.
        attempt: Number of the attempt that is under way.
        cause: How the one before ended, for a person.
    """
    _require(status, *_WORKING)
    status.attempt = attempt
    status.ClearField("progress")
    if status.state == job_pb2.JOB_STATE_RUNNING:
        status.message = f"attempt {attempt - 1}: {cause}"


def tries(status: job_pb2.JobStatus) -> int:
    """Return how many attempts a job has had, but for those that a suspension ended."""
    return status.attempt - status.suspensions


def lose(status: job_pb2.JobStatus, cause: str, *, max_attempts: int) -> None:
    """Put a job whose worker was lost back into the queue, or end it when its attempts are spent.

    Args:
        status: A RUNNING job's.
        cause: How the worker ended, for a person. Example: "the worker was killed".
        max_attempts: How many attempts a job has in all.
    """
    _require(status, job_pb2.JOB_STATE_RUNNING)
    if tries(status) >= max_attempts:
        fail(status, WorkerLost(f"{cause}, at the last of {max_attempts} attempts"))
        return
    status.state = job_pb2.JOB_STATE_QUEUED
    status.message = f"attempt {status.attempt}: {cause}"
    status.ClearField("progress")


def finish(status: job_pb2.JobStatus) -> None:
    """End a job whose output is registered; one that is to stop too, for the output is there."""
    _require(status, *_WORKING)
    _end(status, job_pb2.JOB_STATE_SUCCEEDED, "")


def fail(status: job_pb2.JobStatus, error: LeptonError) -> None:
    """End a job that cannot succeed."""
    _require(
        status,
        job_pb2.JOB_STATE_QUEUED,
        job_pb2.JOB_STATE_RUNNING,
        job_pb2.JOB_STATE_SUSPENDING,
        job_pb2.JOB_STATE_SUSPENDED,
    )
    reported: status_pb2.Status = to_status(error)
    status.error.CopyFrom(reported)
    _end(status, job_pb2.JOB_STATE_FAILED, reported.message)


def request_cancel(status: job_pb2.JobStatus) -> None:
    """Ask a job to stop: at once before its first worker. Does nothing to one that has ended."""
    if is_final(status.state):
        return
    if not status.attempt and status.state in (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_SUSPENDED):
        _end(status, job_pb2.JOB_STATE_CANCELLED, "cancelled before a worker ran")
    elif status.state != job_pb2.JOB_STATE_CANCELLING:
        # Of one without workers something may be left where they ran, as a Job that is suspended.
        status.state = job_pb2.JOB_STATE_CANCELLING
        status.message = _STOPPING


def cancelled(status: job_pb2.JobStatus) -> None:
    """End a job whose cancellation was asked for and whose worker has stopped."""
    _require(status, job_pb2.JOB_STATE_CANCELLING)
    _end(status, job_pb2.JOB_STATE_CANCELLED, "cancelled")


def request_suspend(status: job_pb2.JobStatus) -> None:
    """Ask a job to be without workers until it is resumed: at once when none runs.

    Raises:
        WrongState: It has ended, or is being cancelled.
    """
    _check_goes_on(status, "suspend")
    if status.state == job_pb2.JOB_STATE_QUEUED:
        _rest(status)
    elif status.state == job_pb2.JOB_STATE_RUNNING:
        status.state = job_pb2.JOB_STATE_SUSPENDING
        status.message = _STOPPING
        status.suspensions += 1


def suspended(status: job_pb2.JobStatus) -> None:
    """Take over that the worker of a job has stopped whose suspension was asked for."""
    _require(status, job_pb2.JOB_STATE_SUSPENDING)
    _rest(status)


def not_suspended(status: job_pb2.JobStatus, reason: str) -> None:
    """Let a job run on that cannot be suspended where its workers run; `reason` is for a person."""
    _require(status, job_pb2.JOB_STATE_SUSPENDING)
    status.state = job_pb2.JOB_STATE_RUNNING
    status.message = f"not suspended: {reason}"
    status.suspensions -= 1


def resume(status: job_pb2.JobStatus) -> None:
    """Put a suspended job back into the queue, also one whose worker has not stopped yet.

    Raises:
        WrongState: It has ended, or is being cancelled.
    """
    _check_goes_on(status, "resume")
    if status.state in (job_pb2.JOB_STATE_SUSPENDING, job_pb2.JOB_STATE_SUSPENDED):
        status.state = job_pb2.JOB_STATE_QUEUED
        status.message = ""
        status.ClearField("progress")


def _rest(status: job_pb2.JobStatus) -> None:
    status.state = job_pb2.JOB_STATE_SUSPENDED
    status.message = "until it is resumed"
    for field in ("rate_per_second", "time_left"):
        status.progress.ClearField(field)


def _check_goes_on(status: job_pb2.JobStatus, verb: str) -> None:
    if is_final(status.state):
        name = job_pb2.JobState.Name(status.state)
        raise WrongState(f"the job has ended ({name}): there is nothing to {verb}")
    if status.state == job_pb2.JOB_STATE_CANCELLING:
        raise WrongState(f"the job is being cancelled: it is too late to {verb} it")


def _end(status: job_pb2.JobStatus, state: job_pb2.JobState.ValueType, message: str) -> None:
    status.state = state
    status.message = message
    status.end_time.GetCurrentTime()
    status.progress.ClearField("time_left")


def _require(status: job_pb2.JobStatus, *states: job_pb2.JobState.ValueType) -> None:
    if status.state not in states:
        names = " or ".join(job_pb2.JobState.Name(state) for state in states)
        raise WrongState(f"the job is {job_pb2.JobState.Name(status.state)}, not {names}")
