"""Following a job to its end, whatever that is."""

from collections.abc import AsyncGenerator

import pytest

from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2
from lepton_common import errors
from lepton_common.status import to_status
from lepton_sdk.jobs import state_name, succeeded, wait


def job(
    state: "job_pb2.JobState.ValueType", *, error: errors.LeptonError | None = None
) -> training_pb2.TrainingJob:
    status = job_pb2.JobStatus(state=state, error=to_status(error) if error else None)
    return training_pb2.TrainingJob(name="trainingJobs/digits", status=status)


QUEUED = job(job_pb2.JOB_STATE_QUEUED)
RUNNING = job(job_pb2.JOB_STATE_RUNNING)
SUCCEEDED = job(job_pb2.JOB_STATE_SUCCEEDED)
CANCELLED = job(job_pb2.JOB_STATE_CANCELLED)


class Updates:
    """What a service tells of a job, and whether it was asked to stop."""

    def __init__(self, *jobs: training_pb2.TrainingJob) -> None:
        self.jobs = jobs
        self.closed = False

    async def __call__(self) -> AsyncGenerator[training_pb2.TrainingJob, None]:
        try:
            for each in self.jobs:
                yield each
        finally:
            self.closed = True


async def test_every_update_is_told_and_the_last_one_returned() -> None:
    seen: list[str] = []
    ended = await wait(Updates(QUEUED, RUNNING, SUCCEEDED)(), lambda each: seen.append(state_name(each)))
    assert ended == SUCCEEDED
    assert seen == ["QUEUED", "RUNNING", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("last", "raised", "told"),
    [
        pytest.param(
            job(job_pb2.JOB_STATE_FAILED, error=errors.NoCandidate("int8 lost 0.1")),
            errors.NoCandidate,
            "int8 lost 0.1",
            id="failed",
        ),
        pytest.param(
            job(job_pb2.JOB_STATE_FAILED, error=errors.WorkerLost("five times")),
            errors.WorkerLost,
            "five times",
            id="lost",
        ),
        pytest.param(CANCELLED, errors.Cancelled, "trainingJobs/digits was cancelled", id="cancelled"),
        pytest.param(RUNNING, errors.WrongState, "has not ended: it is running", id="still running"),
    ],
)
async def test_a_job_that_did_not_succeed_is_an_error(
    last: training_pb2.TrainingJob, raised: type[errors.LeptonError], told: str
) -> None:
    with pytest.raises(raised, match=told):
        await wait(Updates(QUEUED, last)())
    with pytest.raises(raised, match=told):
        succeeded(last)


async def test_a_service_that_tells_nothing_is_an_error() -> None:
    with pytest.raises(errors.WrongState, match="told nothing"):
        await wait(Updates()())


async def test_the_stream_is_closed_when_its_reader_fails() -> None:
    updates = Updates(QUEUED, RUNNING, SUCCEEDED)

    def fail(_: training_pb2.TrainingJob) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await wait(updates(), fail)
    assert updates.closed
