"""Kill services and workers at any moment: no job is lost, none runs twice, every one ends right."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING

import pytest

from lepton.job.v1 import job_pb2
from lepton.training.v1.training_pb2 import TrainingJob
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.process_file import ProcessFile
from lepton_common.jobs.processes import stop_all

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.usefixtures("programs")

SUCCEEDED, FAILED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED
CANCELLED = job_pb2.JOB_STATE_CANCELLED


async def test_a_worker_that_goes_on_while_the_service_is_away_is_found_again(bench: Bench) -> None:
    async with bench.service_process():
        job = await bench.create("digits", "succeed", steps="100")
        await bench.at_work(job)
    async with bench.service_process():
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.attempt) == (SUCCEEDED, 1)
    assert len(bench.runs(job)) == 1


async def test_a_worker_that_ends_while_the_service_is_away_has_its_outcome_taken(bench: Bench) -> None:
    async with bench.service():
        job = await bench.create("digits", "succeed", steps="20")
        await bench.at_work(job)
    while files.read_outcome(bench.objects, life.key(job), 1) is None:
        await asyncio.sleep(0.02)
    async with bench.service():
        ended = await bench.ended(job)
    assert (ended.status.state, len(bench.runs(job))) == (SUCCEEDED, 1)


async def test_a_worker_that_is_lost_while_the_service_is_away_is_followed_by_the_next_attempt(
    bench: Bench,
) -> None:
    async with bench.service():
        job = await bench.create("digits", "run")
        await bench.at_work(job)
    bench.kill_worker(job)
    async with bench.service():
        await bench.at_work(job, attempt=2)


async def kill_workers(bench: Bench, chance: random.Random) -> int:
    """Kill a worker now and then, until cancelled; return how many."""
    killed = 0
    try:
        while True:
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            workers = [ProcessFile(path) for path in (bench.folder / "run").glob("*/*/worker-0")]
            alive = [worker for worker in workers if worker.alive()]
            if alive and chance.choice(alive).signal(signal.SIGKILL):
                killed += 1
    except asyncio.CancelledError:
        return killed


async def restart_services(bench: Bench, chance: random.Random) -> None:
    """Run the service and kill it, again and again."""
    for _ in range(5):
        async with bench.service_process(max_running=3, max_attempts=100):
            await asyncio.sleep(chance.uniform(0.1, 1.5))


async def cancel_later(bench: Bench, job: TrainingJob, *, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await bench.cancel(job)


async def test_whatever_is_killed_every_job_ends_right_and_once(bench: Bench) -> None:
    chance = random.Random(1)
    jobs: list[TrainingJob] = []
    wanted: dict[str, set[job_pb2.JobState.ValueType]] = {}
    cancels = []
    for number in range(12):
        do = chance.choice(["succeed", "succeed", "succeed", "fail", "die once", "run"])
        steps = "1000000" if do == "run" else str(chance.randrange(1, 60))
        job = await bench.create(f"job-{number}", do, steps=steps)
        jobs.append(job)
        wanted[job.name] = {FAILED} if do == "fail" else {SUCCEEDED}
        if do == "run" or chance.random() < 0.2:
            cancels.append(cancel_later(bench, job, seconds=chance.uniform(0, 8)))
            # By the time it is asked for, a job that does not run for ever may have ended.
            wanted[job.name] = {CANCELLED} if do == "run" else wanted[job.name] | {CANCELLED}

    reaper = asyncio.create_task(kill_workers(bench, chance))
    await asyncio.gather(restart_services(bench, chance), *cancels)
    reaper.cancel()
    assert await reaper >= 2, "the test must have hurt"

    async with bench.service(max_running=3, max_attempts=100):
        ended = [await bench.ended(job) for job in jobs]
    for job in ended:
        assert job.status.state in wanted[job.name], job
        output = bench.registered(job)
        assert (output is not None) == (job.status.state == SUCCEEDED)
        assert job.model_version == (output["version"] if output else "")
        attempts = [attempt for attempt, _ in bench.runs(job)]
        assert attempts == sorted(set(attempts)), "no attempt ran twice"
    assert stop_all(bench.folder / "run") == 0
