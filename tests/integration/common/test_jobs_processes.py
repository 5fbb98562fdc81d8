"""Workers as real processes, which this launcher or a later one finds, ends and cleans up after."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from lepton_common.jobs.launcher import Launch, Observation, Phase
from lepton_common.jobs.processes import ProcessLauncher, stop_all

pytestmark = pytest.mark.usefixtures("programs")

JOB = "trainingJobs/digits/0f8e"
FOLDER = "trainingJobs.digits.0f8e/1"


def launch(do: str, *, code: int = 0, attempt: int = 1, workers: int = 1) -> Launch:
    return Launch(
        job=JOB,
        attempt=attempt,
        module="job_programs.plain",
        environment={"DO": do, "CODE": str(code)},
        workers=workers,
    )


@pytest.fixture
async def run_directory(tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path / "run"
    stop_all(tmp_path / "run", grace_seconds=0)


@pytest.fixture
def launcher(run_directory: Path) -> ProcessLauncher:
    return ProcessLauncher(run_directory, grace_seconds=5)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def begun(run_directory: Path, *, workers: int = 1, attempt: int = 1) -> list[psutil.Process]:
    """Wait until the workers of the attempt are at work."""
    folder = run_directory / "trainingJobs.digits.0f8e" / str(attempt)
    await until(lambda: len(list(folder.glob("scratch-*/begun"))) == workers)
    ids = [int((folder / f"worker-{number}").read_text()) for number in range(workers)]
    return [psutil.Process(pid) for pid in ids]


async def ended(launcher: ProcessLauncher) -> Observation:
    async with asyncio.timeout(10):
        while (seen := await launcher.observe(JOB, 1)).phase != Phase.ENDED:
            await asyncio.sleep(0.01)
    return seen


async def test_what_was_never_started_is_absent(launcher: ProcessLauncher) -> None:
    assert await launcher.observe(JOB, 1) == Observation(Phase.ABSENT)


async def test_a_worker_runs_until_it_is_stopped(launcher: ProcessLauncher, run_directory: Path) -> None:
    await launcher.start(launch("sleep"))
    assert await launcher.observe(JOB, 1) == Observation(Phase.RUNNING)
    (process,) = await begun(run_directory)
    await launcher.stop(JOB, 1)
    assert not process.is_running()
    assert (await launcher.observe(JOB, 1)).phase == Phase.ENDED
    assert not (run_directory / FOLDER / "scratch-0").exists()


async def test_starting_again_starts_nothing_again(launcher: ProcessLauncher, run_directory: Path) -> None:
    await asyncio.gather(*(launcher.start(launch("sleep")) for _ in range(5)))
    (process,) = await begun(run_directory)
    await ProcessLauncher(run_directory).start(launch("sleep"))
    others = [
        found
        for found in psutil.process_iter(["environ"])
        if (found.info["environ"] or {}).get("LEPTON_RUN_DIRECTORY", "").startswith(str(run_directory))
    ]
    assert [found.pid for found in others] == [process.pid]


async def test_an_attempt_that_ended_or_was_stopped_does_not_start_again(
    launcher: ProcessLauncher, run_directory: Path
) -> None:
    await launcher.start(launch("exit"))
    assert await ended(launcher) == Observation(Phase.ENDED)
    await launcher.start(launch("exit"))
    assert (await launcher.observe(JOB, 1)).phase == Phase.ENDED

    await launcher.stop(JOB, 2)
    await launcher.start(launch("sleep", attempt=2))
    assert (await launcher.observe(JOB, 2)).phase == Phase.ENDED


async def test_what_workers_wrote_is_kept_until_the_job_is_cleaned_up(launcher: ProcessLauncher) -> None:
    assert await launcher.logs(JOB) == []
    await launcher.start(launch("exit", code=3))
    await ended(launcher)
    await launcher.stop(JOB, 1)
    (log,) = await launcher.logs(JOB)
    assert log.worker == "attempt 1, worker 0"
    assert "the last words" in log.text
    await launcher.clean(JOB)
    assert await launcher.logs(JOB) == []


@pytest.mark.parametrize(
    ("started", "message", "log"),
    [
        (launch("exit", code=0), "", ""),
        (launch("exit", code=3), "the worker was lost (exit code 3)", "the last words"),
        (launch("exit", code=75), "the worker was lost (it asked for a restart)", "the last words"),
        (launch("raise"), "the worker was lost (exit code 1)", "RuntimeError: the last words"),
    ],
    ids=["in order", "with a code", "for a restart", "with an exception"],
)
async def test_how_a_worker_ended_is_told(
    started: Launch, message: str, log: str, launcher: ProcessLauncher
) -> None:
    await launcher.start(started)
    seen = await ended(launcher)
    assert seen.message == message
    assert seen.log.splitlines()[-1:] == ([log] if log else [])


async def test_a_killed_worker_is_told_from_one_that_ended(
    launcher: ProcessLauncher, run_directory: Path
) -> None:
    await launcher.start(launch("sleep"))
    (process,) = await begun(run_directory)
    process.kill()
    assert (await ended(launcher)).message == "the worker was lost (killed)"
    await until(lambda: not psutil.pid_exists(process.pid))


async def test_one_lost_worker_of_a_group_ends_the_attempt(
    launcher: ProcessLauncher, run_directory: Path
) -> None:
    await launcher.start(launch("fail beside a peer", workers=2))
    assert (await ended(launcher)).message == "worker 1 of 2 was lost (exit code 3)"
    await launcher.stop(JOB, 1)
    assert stop_all(run_directory) == 0


async def test_workers_know_each_others_addresses(launcher: ProcessLauncher, run_directory: Path) -> None:
    await launcher.start(launch("sleep", workers=3))
    await begun(run_directory, workers=3)
    told = {
        (run_directory / FOLDER / f"scratch-{number}" / "begun").read_text().split(",")[number]
        for number in range(3)
    }
    assert len(told) == 3


@pytest.mark.parametrize("do", ["ignore SIGTERM", "have a child"])
async def test_a_stubborn_worker_is_killed_with_all_it_started(do: str, run_directory: Path) -> None:
    launcher = ProcessLauncher(run_directory, grace_seconds=0.3)
    await launcher.start(launch(do))
    (process,) = await begun(run_directory)
    family = [process, *process.children(recursive=True)]
    await launcher.stop(JOB, 1)
    await until(lambda: not any(member.is_running() for member in family))


async def test_the_services_own_settings_are_not_the_workers(
    launcher: ProcessLauncher, run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEPTON_DATABASE_URL", "postgresql://user:password@host/database")
    await launcher.start(launch("sleep"))
    (process,) = await begun(run_directory)
    environment = process.environ()
    assert "LEPTON_DATABASE_URL" not in environment
    assert environment["LEPTON_WORKER_INDEX"] == "0"


async def test_a_clean_launcher_keeps_nothing_of_the_job(
    launcher: ProcessLauncher, run_directory: Path
) -> None:
    await launcher.start(launch("sleep"))
    await launcher.clean(JOB)
    assert list(run_directory.iterdir()) == []
    assert await launcher.observe(JOB, 1) == Observation(Phase.ABSENT)


async def test_a_supervisor_can_end_all_that_is_left(launcher: ProcessLauncher, run_directory: Path) -> None:
    await launcher.start(launch("sleep", workers=2))
    await launcher.start(launch("sleep", attempt=2))
    assert await asyncio.to_thread(stop_all, run_directory) == 3
    assert await asyncio.to_thread(stop_all, run_directory) == 0


STARTER = """
import asyncio, os, sys
from pathlib import Path
from lepton_common.jobs.launcher import Launch
from lepton_common.jobs.processes import ProcessLauncher

launch = Launch(
    job=sys.argv[2], attempt=1, module="job_programs.plain", environment={"DO": "sleep"}, workers=2
)
print("ready", flush=True)
asyncio.run(ProcessLauncher(Path(sys.argv[1])).start(launch))
"""


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 4, 8, 16, 32, 64])
async def test_a_service_killed_while_it_starts_workers_leaves_none_that_is_not_found(
    delay_ms: int, run_directory: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(run_directory), JOB], stdout=subprocess.PIPE
    ) as service:
        assert service.stdout is not None
        await asyncio.to_thread(service.stdout.readline)
        time.sleep(delay_ms / 1000)
        os.kill(service.pid, signal.SIGKILL)

    successor = ProcessLauncher(run_directory)
    async with asyncio.timeout(10):
        while (await successor.observe(JOB, 1)).phase != Phase.RUNNING:
            await successor.start(launch("sleep", workers=2))
    running = await begun(run_directory, workers=2)
    of_the_job = [
        found.pid
        for found in psutil.process_iter(["environ"])
        if (found.info["environ"] or {}).get("LEPTON_RUN_DIRECTORY", "").startswith(str(run_directory))
    ]
    assert sorted(of_the_job) == sorted(process.pid for process in running)
