"""What becomes of what a launcher tells that starts lost workers anew by itself, as a cluster does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from lepton.job.v1 import job_pb2
from lepton_common.errors import Cancelled, Overloaded, WorkerLost
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.launcher import Launch, Log, Observation, Phase
from lepton_common.status import from_status

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.usefixtures("programs")


class Cluster:
    """A launcher that starts nothing: a test says what it sees."""

    def __init__(self) -> None:
        self.seen = Observation(Phase.RUNNING)
        self.started: list[Launch] = []
        self.stopped: list[tuple[int, bool]] = []
        self.shown: list[job_pb2.JobStatus] = []
        self.refusal: Exception | None = None
        self._changed: Callable[[str], None] = lambda key: None

    async def start(self, launch: Launch) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.started.append(launch)

    async def has_started(self) -> None:
        """Wait until something was started."""
        async with asyncio.timeout(20):
            while not self.started:
                await asyncio.sleep(0.01)

    async def has_shown(self, state: job_pb2.JobState.ValueType) -> None:
        """Wait until a job was shown in a state, which comes after it was written down."""
        async with asyncio.timeout(20):
            while not self.shown or self.shown[-1].state != state:
                await asyncio.sleep(0.01)

    async def observe(self, job: str, attempt: int) -> Observation:
        return self.seen if self.started else Observation(Phase.ABSENT)

    async def stop(self, job: str, attempt: int, *, done: bool = False) -> None:
        self.stopped.append((attempt, done))

    async def suspend(self, job: str, attempt: int) -> int:
        self.stopped.append((attempt, False))
        return attempt

    async def clean(self, job: str) -> None:
        self.started.clear()

    async def logs(self, job: str) -> list[Log]:
        return []

    async def show(self, job: str, status: job_pb2.JobStatus) -> None:
        shown = job_pb2.JobStatus()
        shown.CopyFrom(status)
        self.shown.append(shown)

    def listen(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    def tell(self, job: life.Job, seen: Observation) -> None:
        """See something else, and say that there is something to see."""
        self.seen = seen
        self._changed(life.key(job))


async def test_a_new_attempt_is_taken_over_with_its_cause(bench: Bench) -> None:
    cluster = Cluster()
    async with bench.service(launcher=cluster):
        job = await bench.create("digits", "succeed")
        await cluster.has_started()
        cluster.tell(job, Observation(Phase.RUNNING, attempt=3))
        found = await bench.until(job, lambda seen: seen.status.attempt == 3)
        assert found.status.state == job_pb2.JOB_STATE_RUNNING
        assert found.status.message == "attempt 2: the worker was lost"
        # An outcome counts for the attempt that is under way alone.
        files.write_outcome(bench.objects, life.key(job), 1, outcome=files.Outcome(output={"version": "old"}))
        files.write_outcome(bench.objects, life.key(job), 3, outcome=files.Outcome(output={"version": "new"}))
        cluster.tell(job, Observation(Phase.ENDED, attempt=3))
        ended = await bench.ended(job)
        await cluster.has_shown(job_pb2.JOB_STATE_SUCCEEDED)
    assert (ended.status.state, ended.model_version) == (job_pb2.JOB_STATE_SUCCEEDED, "new")
    assert cluster.stopped == [(3, True)]
    assert len(cluster.started) == 1


async def test_what_it_waits_for_stands_in_the_status_until_it_goes_on(bench: Bench) -> None:
    cluster = Cluster()
    cluster.seen = Observation(Phase.RUNNING, "the worker has no place: there is none")
    async with bench.service(launcher=cluster):
        job = await bench.create("digits", "succeed")
        waiting = await bench.until(job, lambda seen: seen.status.message != "")
        assert waiting.status.message == "waiting: the worker has no place: there is none"
        cluster.tell(job, Observation(Phase.RUNNING))
        await bench.until(job, lambda seen: seen.status.message == "")


async def test_a_loss_for_good_is_the_jobs_error(bench: Bench) -> None:
    cluster = Cluster()
    error = WorkerLost("the worker was lost, more often than its Job lets it")
    cluster.seen = Observation(Phase.ENDED, error=error)
    async with bench.service(launcher=cluster):
        ended = await bench.ended(await bench.create("digits", "succeed"))
    assert ended.status.state == job_pb2.JOB_STATE_FAILED
    assert from_status(ended.status.error).message == error.message
    assert len(cluster.started) == 1


async def test_what_was_deleted_there_is_cancelled_here(bench: Bench) -> None:
    cluster = Cluster()
    cluster.seen = Observation(Phase.ENDED, error=Cancelled("its Kubernetes Job was deleted"))
    async with bench.service(launcher=cluster):
        ended = await bench.ended(await bench.create("digits", "succeed"))
    assert ended.status.state == job_pb2.JOB_STATE_CANCELLED
    assert ended.status.message == "its Kubernetes Job was deleted"


async def test_a_quota_without_room_is_waited_for(bench: Bench) -> None:
    cluster = Cluster()
    cluster.refusal = Overloaded("exceeded quota: jobs")
    async with bench.service(launcher=cluster):
        job = await bench.create("digits", "succeed")
        waiting = await bench.until(job, lambda seen: seen.status.message != "")
        assert waiting.status.message == "waiting: exceeded quota: jobs"
        cluster.refusal = None
        await cluster.has_started()
