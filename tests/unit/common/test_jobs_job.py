"""Every step of a job's life, from every state."""

from collections.abc import Callable

import pytest

from lepton.job.v1 import job_pb2
from lepton.job.v1.job_pb2 import (
    JOB_STATE_CANCELLED,
    JOB_STATE_CANCELLING,
    JOB_STATE_FAILED,
    JOB_STATE_QUEUED,
    JOB_STATE_RUNNING,
    JOB_STATE_SUCCEEDED,
    JOB_STATE_SUSPENDED,
    JOB_STATE_SUSPENDING,
    JobStatus,
)
from lepton.training.v1 import training_pb2
from lepton_common.errors import InvalidModel, WorkerLost, WrongState
from lepton_common.jobs import job
from lepton_common.status import from_status

STATES = (
    JOB_STATE_QUEUED,
    JOB_STATE_RUNNING,
    JOB_STATE_SUSPENDING,
    JOB_STATE_SUSPENDED,
    JOB_STATE_CANCELLING,
    JOB_STATE_SUCCEEDED,
    JOB_STATE_FAILED,
    JOB_STATE_CANCELLED,
)
FINAL = STATES[5:]


def status_in(state: job_pb2.JobState.ValueType) -> JobStatus:
    attempt = 0 if state == JOB_STATE_QUEUED else 1
    return JobStatus(state=state, attempt=attempt, progress=job_pb2.Progress(phase="training", done=3))


def lose(status: JobStatus) -> None:
    job.lose(status, "the worker was lost (killed)", max_attempts=5)


def fail(status: JobStatus) -> None:
    job.fail(status, InvalidModel("no such layer"))


def wait(status: JobStatus) -> None:
    job.wait(status, "the registry does not answer")


def not_suspended(status: JobStatus) -> None:
    job.not_suspended(status, "Kueue decides when it runs")


STEPS: list[tuple[Callable[[JobStatus], None], dict[int, job_pb2.JobState.ValueType]]] = [
    (job.start, {JOB_STATE_QUEUED: JOB_STATE_RUNNING}),
    (lose, {JOB_STATE_RUNNING: JOB_STATE_QUEUED}),
    (wait, {state: state for state in STATES[:3]}),
    (
        job.finish,
        dict.fromkeys((JOB_STATE_RUNNING, JOB_STATE_SUSPENDING, JOB_STATE_CANCELLING), JOB_STATE_SUCCEEDED),
    ),
    (fail, dict.fromkeys(STATES[:4], JOB_STATE_FAILED)),
    (job.cancelled, {JOB_STATE_CANCELLING: JOB_STATE_CANCELLED}),
    (
        job.request_cancel,
        {
            JOB_STATE_QUEUED: JOB_STATE_CANCELLED,
            **dict.fromkeys(STATES[1:5], JOB_STATE_CANCELLING),
            **{state: state for state in FINAL},
        },
    ),
    (
        job.request_suspend,
        {
            JOB_STATE_QUEUED: JOB_STATE_SUSPENDED,
            JOB_STATE_RUNNING: JOB_STATE_SUSPENDING,
            JOB_STATE_SUSPENDING: JOB_STATE_SUSPENDING,
            JOB_STATE_SUSPENDED: JOB_STATE_SUSPENDED,
        },
    ),
    (job.suspended, {JOB_STATE_SUSPENDING: JOB_STATE_SUSPENDED}),
    (not_suspended, {JOB_STATE_SUSPENDING: JOB_STATE_RUNNING}),
    (
        job.resume,
        {
            JOB_STATE_QUEUED: JOB_STATE_QUEUED,
            JOB_STATE_RUNNING: JOB_STATE_RUNNING,
            JOB_STATE_SUSPENDING: JOB_STATE_QUEUED,
            JOB_STATE_SUSPENDED: JOB_STATE_QUEUED,
        },
    ),
]


@pytest.mark.parametrize("state", STATES, ids=job_pb2.JobState.Name)
@pytest.mark.parametrize(("step", "leads_to"), STEPS, ids=[step.__name__ for step, _ in STEPS])
def test_a_step_leads_on_from_its_states_alone(
    step: Callable[[JobStatus], None],
    leads_to: dict[int, job_pb2.JobState.ValueType],
    state: job_pb2.JobState.ValueType,
) -> None:
    status = status_in(state)
    if state in leads_to:
        step(status)
        assert status.state == leads_to[state]
        assert status.HasField("end_time") == (status.state in FINAL and state not in FINAL)
    else:
        with pytest.raises(WrongState):
            step(status)
        assert status == status_in(state)


def test_the_start_time_is_that_of_the_first_attempt() -> None:
    status = job.queued()
    job.start(status)
    first = status.start_time.ToNanoseconds()
    lose(status)
    job.start(status)
    assert (status.attempt, status.start_time.ToNanoseconds()) == (2, first)


def test_a_lost_worker_is_told_of_while_the_next_one_runs() -> None:
    status = job.queued()
    job.start(status)
    lose(status)
    job.start(status)
    assert status.message == "attempt 1: the worker was lost (killed)"


def test_the_last_attempt_that_is_lost_fails_the_job() -> None:
    status = JobStatus(state=JOB_STATE_RUNNING, attempt=5)
    lose(status)
    assert status.state == JOB_STATE_FAILED
    error = from_status(status.error)
    assert isinstance(error, WorkerLost)
    assert error.message == status.message == "the worker was lost (killed), at the last of 5 attempts"


def test_attempts_that_were_suspended_do_not_count_as_lost() -> None:
    status = job.queued()
    for _ in range(7):
        job.start(status)
        job.request_suspend(status)
        job.suspended(status)
        job.resume(status)
    job.start(status)
    lose(status)
    assert (status.state, status.attempt, job.tries(status)) == (JOB_STATE_QUEUED, 8, 1)


def test_asking_twice_is_asking_once() -> None:
    status = JobStatus(state=JOB_STATE_RUNNING, attempt=1)
    job.request_suspend(status)
    job.request_suspend(status)
    job.suspended(status)
    job.request_suspend(status)
    assert (status.state, status.suspensions) == (JOB_STATE_SUSPENDED, 1)
    job.resume(status)
    job.resume(status)
    assert status == JobStatus(state=JOB_STATE_QUEUED, attempt=1, suspensions=1)


def test_an_attempt_that_was_suspended_before_it_began_is_no_attempt() -> None:
    status = JobStatus(state=JOB_STATE_QUEUED, attempt=3, suspensions=3)
    job.start(status, begun=2)
    assert status.attempt == 3


def test_a_suspended_job_that_never_ran_is_cancelled_at_once() -> None:
    status = job.queued()
    job.request_suspend(status)
    job.request_cancel(status)
    assert (status.state, status.message) == (JOB_STATE_CANCELLED, "cancelled before a worker ran")


@pytest.mark.parametrize("state", [*FINAL, JOB_STATE_CANCELLING], ids=job_pb2.JobState.Name)
def test_it_is_said_why_a_job_cannot_be_suspended_or_resumed(state: job_pb2.JobState.ValueType) -> None:
    why = "is being cancelled: it is too late to" if state == JOB_STATE_CANCELLING else "there is nothing to"
    with pytest.raises(WrongState, match=f"{why} suspend"):
        job.request_suspend(status_in(state))
    with pytest.raises(WrongState, match=f"{why} resume"):
        job.resume(status_in(state))


@pytest.mark.parametrize("state", STATES, ids=job_pb2.JobState.Name)
def test_progress_is_taken_over_only_while_a_worker_may_run(state: job_pb2.JobState.ValueType) -> None:
    status = status_in(state)
    job.advance(status, job_pb2.Progress(done=9), [job_pb2.MetricSeries(name="loss")])
    at_work = state in (JOB_STATE_RUNNING, JOB_STATE_CANCELLING, JOB_STATE_SUSPENDING)
    assert (status.progress.done, len(status.metrics)) == ((9, 1) if at_work else (3, 0))


def test_the_index_tells_the_active_from_the_ended() -> None:
    found = {state: job.index(training_pb2.TrainingJob(status=JobStatus(state=state))) for state in STATES}
    assert found == {state: job.ENDED if state in FINAL else job.ACTIVE for state in STATES}


def test_a_deleted_job_and_a_new_one_of_its_name_have_different_keys() -> None:
    first = training_pb2.TrainingJob(name="trainingJobs/digits", uid="a1")
    second = training_pb2.TrainingJob(name="trainingJobs/digits", uid="b2")
    assert job.key(first) == "trainingJobs/digits/a1"
    assert job.key(first) != job.key(second)
