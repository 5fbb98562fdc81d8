"""Kill anything with SIGKILL in the middle of the story: nothing acknowledged is lost, jobs end right, and
running the pipeline again finishes it."""

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import psutil
import pytest

from lepton.job.v1 import job_pb2
from lepton_common.errors import LeptonError
from lepton_sdk import pipeline
from lepton_sdk.client import Client
from lepton_sdk.local import LocalCloud

pytestmark = pytest.mark.timeout(900)

MOST_KILLS = 10


def story(digits: Path) -> pipeline.Pipeline:
    return pipeline.parse(
        {
            "name": "digits",
            "dataset": {
                "sources": [{"path": str(digits)}],
                "spec": {"schema": {"label": "label"}},
            },
            "train": {"mlp": {"hiddenUnits": [64]}, "maxEpochs": 8},
            "compress": {"maxAccuracyDrop": 0.02},
            "endpoint": {},
            "agent": {
                "id": "walker",
                "spec": {"environment": "CliffWalking-v1", "qLearning": {}},
                "learn": {"simulation": {"steps": 30000}},
            },
        },
        digits.parent,
    )


async def run_to_its_end(client: Client, wanted: pipeline.Pipeline) -> pipeline.Outcome:
    """What a user does whose pipeline was interrupted: run it again."""
    for _ in range(20):
        try:
            return await pipeline.run(client, wanted)
        except LeptonError:
            await asyncio.sleep(1)
    return await pipeline.run(client, wanted)


def workers_of(cloud: LocalCloud) -> list[int]:
    """Process ids of the workers that run for this cloud, and for no other on this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        with contextlib.suppress(psutil.Error):
            if (
                any(word.startswith("lepton_") and word.endswith(".worker") for word in words)
                and str(cloud.directory) in process.environ()["LEPTON_OBJECT_STORE_URL"]
            ):
                found.append(process.pid)
    return found


async def kill_at_random(cloud: LocalCloud, seed: int) -> list[str]:
    """Every few seconds, SIGKILL for a service or a worker, ten times or until cancelled."""
    chance = random.Random(seed)
    killed: list[str] = []
    try:
        while len(killed) < MOST_KILLS:
            await asyncio.sleep(chance.uniform(2, 5))
            services = {p.handle.pid: p.service for p in cloud.processes.values() if p.handle is not None}
            workers = dict.fromkeys(workers_of(cloud), "worker")
            # A worker needs 15 seconds to do anything: kill services most of the time.
            victims = workers if workers and chance.random() < 0.2 else services
            victim = chance.choice(sorted(victims))
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.append(victims[victim])
    except asyncio.CancelledError:
        pass
    return killed


async def test_a_story_with_kills_at_random_ends_like_one_without(
    cloud: LocalCloud, client: Client, digits: Path
) -> None:
    reaper = asyncio.create_task(kill_at_random(cloud, seed=7))
    try:
        outcome = await run_to_its_end(client, story(digits))
    finally:
        reaper.cancel()
        killed = await reaper
    assert len(killed) >= 3, "the test must have hurt"

    again = await pipeline.run(client, story(digits))
    assert again.reused == ["dataset", "train", "compress", "agent"]
    for job in (
        again.dataset_version,
        again.training_job,
        again.compression_job,
        again.learning_run,
    ):
        assert job is not None
        assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert outcome.training_job is not None and again.training_job is not None
    assert again.training_job.model_version == outcome.training_job.model_version
    versions = await client.datasets.versions("datasets/digits")
    assert len({version.digest for version in versions if version.digest}) == 1
    jobs = await client.training.list()
    assert [job.name for job in jobs] == [again.training_job.name], "a retry must not start a second job"


async def test_a_cloud_that_is_stopped_and_started_again_has_everything(tmp_path: Path, digits: Path) -> None:
    from lepton_sdk.local import running

    wanted = story(digits)
    data_only = pipeline.Pipeline(
        name=wanted.name,
        stages={"dataset": wanted.stages["dataset"]},
        folder=wanted.folder,
    )
    async with (
        running(tmp_path / "cloud", first_port=0) as cloud,
        Client(cloud.addresses) as client,
    ):
        first = await pipeline.run(client, data_only)
    async with (
        running(tmp_path / "cloud", first_port=0) as cloud,
        Client(cloud.addresses) as client,
    ):
        second = await pipeline.run(client, data_only)
    assert second.reused == ["dataset"]
    assert first.dataset_version is not None and second.dataset_version is not None
    assert first.dataset_version.digest == second.dataset_version.digest
