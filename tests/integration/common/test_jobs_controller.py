"""Jobs from their creation to their end: real controllers, real workers, real stores."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import psutil
import pytest

from lepton.job.v1 import job_pb2
from lepton_common.errors import InvalidModel, WorkerLost, WrongState
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.processes import stop_all
from lepton_common.status import from_status

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.usefixtures("programs")

QUEUED, RUNNING = job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING
SUCCEEDED, FAILED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED
CANCELLING, CANCELLED = job_pb2.JOB_STATE_CANCELLING, job_pb2.JOB_STATE_CANCELLED


async def test_a_job_runs_reports_and_succeeds(bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "succeed", steps="60")
        at_work = await bench.at_work(job)
        assert (at_work.status.state, at_work.status.attempt) == (RUNNING, 1)
        ended = await bench.ended(job)
    assert ended.status.state == SUCCEEDED
    assert ended.model_version == "models/digits/versions/1"
    assert ended.status.progress.done == ended.status.progress.total == 60
    (loss,) = ended.status.metrics
    assert [point.step for point in loss.points] == list(range(60))
    assert ended.status.start_time.ToNanoseconds() < ended.status.end_time.ToNanoseconds()
    assert ended.status.message == ""
    assert stop_all(bench.folder / "run") == 0
    assert not list((bench.folder / "run").glob("**/scratch-*"))


async def test_an_error_of_the_work_is_the_jobs_error(bench: Bench) -> None:
    async with bench.service():
        ended = await bench.ended(await bench.create("digits", "fail"))
    assert (ended.status.state, ended.status.attempt) == (FAILED, 1)
    error = from_status(ended.status.error)
    assert isinstance(error, InvalidModel)
    assert error.message == ended.status.message == "a dense layer after a dense layer"


async def test_a_lost_worker_is_followed_by_the_next_attempt(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.service():
        job = await bench.create("digits", "die once")
        lost = await bench.until(job, lambda seen: seen.status.message != "")
        assert lost.status.message == "attempt 1: the worker was lost (killed)"
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.attempt) == (SUCCEEDED, 2)
    assert ended.model_version == "models/digits/versions/2"
    (warning,) = [record for record in caplog.records if record.message == "a worker was lost"]
    assert vars(warning)["log"] == "the last words"


async def test_a_job_whose_workers_are_all_lost_fails(bench: Bench) -> None:
    async with bench.service(max_attempts=3):
        job = await bench.create("digits", "die")
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.attempt) == (FAILED, 3)
    error = from_status(ended.status.error)
    assert isinstance(error, WorkerLost)
    assert "last words" not in str(ended.status)
    assert [attempt for attempt, _ in bench.runs(job)] == [1, 2, 3]


async def test_jobs_start_in_the_order_of_their_creation_and_never_too_many_at_once(bench: Bench) -> None:
    names = ["zebra", "ape", "mole", "bear", "cat"]
    jobs = [await bench.create(name, "succeed", steps="10") for name in names]
    most = 0
    async with bench.service(max_running=2):
        states: list[job_pb2.JobState.ValueType] = []
        while states.count(SUCCEEDED) < len(jobs):
            states = [job.status.state async for job in bench.jobs.each()]
            most = max(most, states.count(RUNNING))
            await asyncio.sleep(0.01)
    ended = [await bench.jobs.get(job.name) for job in jobs]
    starts = [job.status.start_time.ToNanoseconds() for job in ended]
    assert most == 2
    assert starts == sorted(starts)


async def test_a_queued_job_is_cancelled_at_once(bench: Bench) -> None:
    job = await bench.cancel(await bench.create("digits", "succeed"))
    assert job.status.state == CANCELLED
    async with bench.service():
        await bench.ended(await bench.create("other", "succeed"))
    assert bench.runs(job) == []


@pytest.mark.parametrize("do", ["run", "ignore SIGTERM"])
async def test_a_running_job_is_cancelled_when_its_worker_has_ended(do: str, bench: Bench) -> None:
    async with bench.service(grace_seconds=0.5):
        job = await bench.create("digits", do)
        await bench.at_work(job)
        assert (await bench.cancel(job)).status.state == CANCELLING
        ended = await bench.ended(job)
    assert ended.status.state == CANCELLED
    assert not ended.status.HasField("error")
    assert stop_all(bench.folder / "run") == 0
    assert bench.registered(job) is None


async def test_an_output_waits_for_the_service_that_registers_it(bench: Bench) -> None:
    (bench.folder / "no-register").touch()
    async with bench.service(max_running=1):
        job = await bench.create("digits", "succeed", steps="10")
        waiting = await bench.until(job, lambda seen: seen.status.message != "")
        assert waiting.status.state == RUNNING
        assert waiting.status.message == "waiting: the registry does not answer"
        assert waiting.status.progress.done == 10
        # Its place is free for others meanwhile, and a restart changes nothing.
        other = await bench.create("other", "run")
        await bench.at_work(other)
    async with bench.service(max_running=1):
        (bench.folder / "no-register").unlink()
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.message) == (SUCCEEDED, "")
    assert len(bench.runs(job)) == 1


async def test_a_job_that_waits_is_cancelled_without_delay(bench: Bench) -> None:
    (bench.folder / "no-register").touch()
    async with bench.service(poll_seconds=0.5):
        job = await bench.create("digits", "succeed")
        await bench.until(job, lambda seen: seen.status.message != "")
        # The next look at what it waits for is ten seconds away by now.
        await asyncio.sleep(4)
        await bench.cancel(job)
        async with asyncio.timeout(3):
            ended = await bench.ended(job)
    assert ended.status.state == CANCELLED


async def test_a_job_that_cannot_be_launched_yet_waits_in_the_queue(bench: Bench) -> None:
    (bench.folder / "no-launch").touch()
    async with bench.service():
        job = await bench.create("digits", "succeed")
        waiting = await bench.until(job, lambda seen: seen.status.message != "")
        assert (waiting.status.state, waiting.status.attempt) == (QUEUED, 0)
        assert waiting.status.message == "waiting: the registry does not answer"
        (bench.folder / "no-launch").unlink()
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.message) == (SUCCEEDED, "")


async def test_a_worker_that_has_an_outcome_but_does_not_end_holds_nothing_up(bench: Bench) -> None:
    async with bench.service(grace_seconds=0.5):
        ended = await bench.ended(await bench.create("digits", "end late"))
    assert ended.status.state == SUCCEEDED
    assert stop_all(bench.folder / "run") == 0


async def test_workers_that_work_together_are_lost_together(bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "run", workers=2)
        await bench.at_work(job)
        while not bench.runs(job, index=1):
            await asyncio.sleep(0.02)
        psutil.Process(bench.runs(job, index=1)[0][1]).kill()
        lost = await bench.until(job, lambda seen: seen.status.message != "")
        assert lost.status.message == "attempt 1: worker 1 of 2 was lost (killed)"
        await bench.at_work(job, attempt=2)
        await bench.cancel(job)
        await bench.ended(job)
    assert [attempt for attempt, _ in bench.runs(job)] == [1, 2]


async def test_an_attempt_that_is_over_can_change_nothing(bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "run")
        await bench.at_work(job)
        bench.kill_worker(job)
        await bench.at_work(job, attempt=2)
        # A node that was cut off comes back and its worker says that it is done.
        late = files.Outcome(output={"version": "models/digits/versions/1"})
        files.write_outcome(bench.objects, life.key(job), 1, outcome=late)
        await asyncio.sleep(0.3)
        assert (await bench.jobs.get(job.name)).status.state == RUNNING
        assert bench.registered(job) is None


async def test_two_services_on_the_same_jobs_do_not_get_into_each_others_way(bench: Bench) -> None:
    async with bench.service(max_running=3), bench.service(max_running=3):
        jobs = [await bench.create(f"job-{number}", "succeed", steps="5") for number in range(8)]
        ended = [await bench.ended(job) for job in jobs]
    assert {(job.status.state, job.status.attempt) for job in ended} == {(SUCCEEDED, 1)}
    assert [len(bench.runs(job)) for job in jobs] == [1] * 8


async def test_a_job_is_deleted_with_all_its_files_once_it_has_ended(bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "run")
        await bench.at_work(job)
        with pytest.raises(WrongState, match="cancel it first"):
            await bench.delete(job)
        await bench.cancel(job)
        await bench.ended(job)
        await bench.delete(job)
        assert bench.objects.list("jobs") == []
        assert list((bench.folder / "run").iterdir()) == []
        again = await bench.ended(await bench.create("digits", "succeed"))
    assert (again.status.state, again.status.attempt) == (SUCCEEDED, 1)


async def test_the_worker_of_a_job_that_vanished_is_ended(bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "run")
        await bench.at_work(job)
        await bench.jobs.delete(job.name)
        async with asyncio.timeout(10):
            while os.listdir(bench.folder / "run") or bench.objects.list("jobs"):
                await asyncio.sleep(0.02)
