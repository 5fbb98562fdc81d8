"""Jobs that are suspended and resumed: no worker meanwhile, no attempt lost, whatever is killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from lepton.job.v1 import job_pb2
from lepton.training.v1.training_pb2 import TrainingJob
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.processes import stop_all

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.usefixtures("programs")

QUEUED, RUNNING = job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING
SUSPENDING, SUSPENDED = job_pb2.JOB_STATE_SUSPENDING, job_pb2.JOB_STATE_SUSPENDED
SUCCEEDED, FAILED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED
CANCELLED = job_pb2.JOB_STATE_CANCELLED


def has_worker(bench: Bench, job: TrainingJob) -> bool:
    """Whether the last worker that began to work on a job is still there."""
    return psutil.pid_exists(bench.runs(job)[-1][1])


async def test_a_suspended_job_has_no_worker_and_goes_on_in_a_new_attempt(bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "succeed", steps="60")
        await bench.at_work(job)
        assert (await bench.suspend(job)).status.state == SUSPENDING
        suspended = await bench.suspended(job)
        assert stop_all(bench.folder / "run") == 0
        assert suspended.status.message == "until it is resumed"
        # What it has come to stays to be seen.
        assert suspended.status.progress.done > 0
        assert (await bench.resume(job)).status.state == QUEUED
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.attempt, ended.status.message) == (SUCCEEDED, 2, "")
    assert ended.model_version == "models/digits/versions/2"
    assert [attempt for attempt, _ in bench.runs(job)] == [1, 2]


async def test_a_suspended_job_leaves_its_place_to_others(bench: Bench) -> None:
    async with bench.service(max_running=1):
        job = await bench.create("digits", "run")
        other = await bench.create("other", "run")
        await bench.at_work(job)
        await bench.suspend(job)
        await bench.at_work(other)
        # Its turn comes when there is a place again.
        await bench.resume(job)
        await asyncio.sleep(0.3)
        assert (await bench.jobs.get(job.name)).status.state == QUEUED
        await bench.cancel(other)
        await bench.at_work(job, attempt=2)


async def test_a_queued_job_that_is_suspended_does_not_start(bench: Bench) -> None:
    job = await bench.create("digits", "succeed")
    assert (await bench.suspend(job)).status.state == SUSPENDED
    async with bench.service():
        await bench.ended(await bench.create("other", "succeed"))
        assert (await bench.jobs.get(job.name)).status.state == SUSPENDED
        assert bench.runs(job) == []
        await bench.resume(job)
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.attempt) == (SUCCEEDED, 1)


async def test_suspensions_leave_a_job_all_its_attempts(bench: Bench) -> None:
    async with bench.service(max_attempts=2):
        job = await bench.create("digits", "run")
        for attempt in (1, 2, 3):
            await bench.at_work(job, attempt=attempt)
            await bench.suspend(job)
            await bench.suspended(job)
            await bench.resume(job)
        await bench.at_work(job, attempt=4)
        bench.kill_worker(job)
        await bench.at_work(job, attempt=5)
        bench.kill_worker(job)
        ended = await bench.ended(job)
    assert ended.status.state == FAILED
    assert ended.status.message.endswith("at the last of 2 attempts")


async def test_a_worker_that_does_not_stop_is_killed(bench: Bench) -> None:
    async with bench.service(grace_seconds=0.5):
        job = await bench.create("digits", "ignore SIGTERM")
        await bench.at_work(job)
        await bench.suspend(job)
        await bench.suspended(job)
        assert stop_all(bench.folder / "run") == 0


async def test_all_workers_of_a_job_are_suspended_together(bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "run", workers=2)
        await bench.at_work(job)
        await bench.suspend(job)
        await bench.suspended(job)
        assert stop_all(bench.folder / "run") == 0
        await bench.resume(job)
        await bench.at_work(job, attempt=2)
        while len(bench.runs(job, index=1)) < 2:
            await asyncio.sleep(0.02)


async def test_a_job_that_is_resumed_while_its_worker_stops_waits_for_its_end(bench: Bench) -> None:
    async with bench.service(grace_seconds=1.5):
        job = await bench.create("digits", "ignore SIGTERM")
        await bench.at_work(job)
        await bench.suspend(job)
        await asyncio.sleep(0.3)
        assert has_worker(bench, job)
        await bench.resume(job)
        resumed = await bench.at_work(job, attempt=2)
    # That there never were two at once is checked of every test.
    assert (resumed.status.message, life.tries(resumed.status)) == ("", 1)


async def test_the_wish_outlives_a_service_that_is_killed_meanwhile(bench: Bench) -> None:
    async with bench.service_process(grace_seconds=60):
        job = await bench.create("digits", "ignore SIGTERM")
        await bench.at_work(job)
        await bench.suspend(job)
        await asyncio.sleep(0.3)
    assert (await bench.jobs.get(job.name)).status.state == SUSPENDING
    assert has_worker(bench, job)
    async with bench.service_process(grace_seconds=0.5):
        await bench.suspended(job)
        assert stop_all(bench.folder / "run") == 0
    async with bench.service_process(grace_seconds=0.5):
        await bench.ended(await bench.create("other", "succeed"))
        assert (await bench.jobs.get(job.name)).status.state == SUSPENDED
        await bench.resume(job)
        resumed = await bench.at_work(job, attempt=2)
    assert life.tries(resumed.status) == 1


async def test_a_job_that_was_resumed_while_no_service_ran_goes_on(bench: Bench) -> None:
    async with bench.service_process(grace_seconds=60):
        job = await bench.create("digits", "ignore SIGTERM")
        await bench.at_work(job)
        await bench.suspend(job)
        await asyncio.sleep(0.3)
    await bench.resume(job)
    async with bench.service(grace_seconds=0.5):
        resumed = await bench.at_work(job, attempt=2)
    assert life.tries(resumed.status) == 1


@pytest.mark.parametrize("when", ["suspending", "suspended"])
async def test_a_suspended_job_can_be_cancelled(when: str, bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "run")
        await bench.at_work(job)
        await bench.suspend(job)
        if when == "suspended":
            await bench.suspended(job)
        await bench.cancel(job)
        ended = await bench.ended(job)
        assert (ended.status.state, ended.status.message) == (CANCELLED, "cancelled")
        assert stop_all(bench.folder / "run") == 0
        await bench.delete(job)
    assert bench.objects.list("jobs") == []


async def test_work_that_is_done_when_its_worker_is_to_stop_is_done(bench: Bench) -> None:
    (bench.folder / "no-register").touch()
    async with bench.service():
        job = await bench.create("digits", "succeed", steps="10")
        await bench.until(job, lambda seen: seen.status.message != "")
        assert files.read_outcome(bench.objects, life.key(job), 1) is not None
        await bench.suspend(job)
        (bench.folder / "no-register").unlink()
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.attempt) == (SUCCEEDED, 1)
