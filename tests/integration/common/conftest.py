"""What the tests of jobs need: programs to start as processes, and a bench to try jobs on."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from lepton.job.v1 import job_pb2
from lepton.training.v1.training_pb2 import TrainingJob, TrainingSpec
from lepton_common.errors import NotFound
from lepton_common.jobs import api
from lepton_common.jobs import job as life
from lepton_common.jobs.processes import ProcessLauncher, stop_all
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection, ResourceStore


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its children import `job_programs`."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    paths = [folder, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))


class Bench:
    """A service of jobs and what a test asks of it."""

    def __init__(self, folder: Path, store: ResourceStore) -> None:
        self.folder = folder
        self.store = store
        self.jobs: Collection[TrainingJob] = store.collection(TrainingJob, index=life.index)
        self.objects = ObjectStore(f"file://{folder}/objects")
        self.launcher = ProcessLauncher(folder / "run")

    @asynccontextmanager
    async def service(self, **settings: Any) -> AsyncIterator[None]:
        """Run a controller in this process until the block ends; nothing of it is left then."""
        program = importlib.import_module("job_programs.service")
        running = asyncio.create_task(program.controller_of(self.folder, self.store, **settings).run())
        try:
            yield
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    @asynccontextmanager
    async def service_process(self, **settings: Any) -> AsyncIterator[None]:
        """Run a controller in a process of its own until the block ends, then kill it with SIGKILL."""
        command = [sys.executable, "-m", "job_programs.service", str(self.folder), json.dumps(settings)]
        with subprocess.Popen(command) as process:
            try:
                async with asyncio.timeout(20):
                    while not (self.folder / f"ready-{process.pid}").exists():
                        assert process.poll() is None
                        await asyncio.sleep(0.02)
                yield
                assert process.poll() is None
            finally:
                process.kill()

    async def create(self, name: str, do: str, *, workers: int = 1, **labels: str) -> TrainingJob:
        job = TrainingJob(
            name=f"trainingJobs/{name}",
            labels={"do": do, **labels},
            spec=TrainingSpec(workers=workers),
            status=life.queued(),
        )
        return await self.jobs.create(job)

    async def cancel(self, job: TrainingJob) -> TrainingJob:
        return await self.jobs.update(job.name, lambda stored: life.request_cancel(stored.status))

    async def suspend(self, job: TrainingJob) -> TrainingJob:
        return await self.jobs.update(job.name, lambda stored: life.request_suspend(stored.status))

    async def resume(self, job: TrainingJob) -> TrainingJob:
        return await self.jobs.update(job.name, lambda stored: life.resume(stored.status))

    async def suspended(self, job: TrainingJob) -> TrainingJob:
        """Wait until the job is without workers."""
        return await self.until(job, lambda seen: seen.status.state == job_pb2.JOB_STATE_SUSPENDED)

    async def delete(self, job: TrainingJob) -> None:
        await api.delete(self.jobs, job.name, launcher=self.launcher, objects=self.objects)

    async def until(self, job: TrainingJob, condition: Callable[[TrainingJob], bool]) -> TrainingJob:
        async with asyncio.timeout(20):
            async for seen in self.jobs.watch(job.name):
                if condition(seen):
                    return seen
        raise AssertionError("a watch ended by itself")

    async def ended(self, job: TrainingJob) -> TrainingJob:
        return await self.until(job, lambda seen: life.is_final(seen.status.state))

    async def at_work(self, job: TrainingJob, *, attempt: int = 1) -> TrainingJob:
        """Wait until the worker has reported its work."""
        return await self.until(
            job, lambda seen: seen.status.attempt == attempt and seen.status.progress.phase == "training"
        )

    def runs(self, job: TrainingJob, *, index: int = 0) -> list[tuple[int, int]]:
        """Attempt and process id of every worker that began to work on the job."""
        path = self.folder / f"runs-{job.name.replace('/', '.')}.{index}"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(attempt), int(pid)) for attempt, pid in (line.split() for line in lines)]

    def kill_worker(self, job: TrainingJob) -> None:
        psutil.Process(self.runs(job)[-1][1]).kill()

    def overlaps(self) -> list[str]:
        return [path.name for path in self.folder.glob("overlap-*")]

    def registered(self, job: TrainingJob) -> dict[str, Any] | None:
        try:
            output: dict[str, Any] = json.loads(self.objects.get(f"registered/{job.name}"))
        except NotFound:
            return None
        return output


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await ResourceStore.open(f"sqlite:///{tmp_path}/jobs.db")
    bench = Bench(tmp_path, store)
    yield bench
    await store.close()
    await asyncio.to_thread(stop_all, tmp_path / "run", grace_seconds=0)
    assert bench.overlaps() == []
