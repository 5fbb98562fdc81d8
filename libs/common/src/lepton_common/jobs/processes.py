"""Workers as local processes.

Below the run directory each attempt has a folder:

    <job>/<attempt>/launch.json    how many workers it has and where they find each other
                   /worker-0       the process, as `process_file` says
                   /worker-0.log   what it wrote to stdout and stderr
                   /scratch-0/     its scratch space
                   /stopped        there when the attempt must not start any more

Every worker leads a session of its own, so it goes on when the service ends, however that ends;
the next one finds it by these files.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from lepton.job.v1 import job_pb2
from lepton_common.jobs.launcher import LOG_BYTES, RESTART_EXIT_CODE, Launch, Log, Observation, Phase
from lepton_common.jobs.process_file import ProcessFile

_LOG_LINES = 20
_LOG_BYTES = 64 * 1024
_LOOK_SECONDS = 0.02


class ProcessLauncher:
    """A `Launcher` that starts Python processes on this machine.

    It sees what was started in its run directory and nothing else: services that work on the same
    jobs, one after the other or at once, need the same one.
    """

    def __init__(
        self, run_directory: Path, *, python: str = sys.executable, grace_seconds: float = 10
    ) -> None:
        """Keep the files of all workers below `run_directory`.

        Args:
            run_directory: Made when missing; on a local file system, for its locks.
            python: The interpreter that workers run in.
            grace_seconds: How long a worker has between SIGTERM and SIGKILL.
        """
        self._run_directory = run_directory.absolute()
        self._python = python
        self._grace_seconds = grace_seconds

    async def start(self, launch: Launch) -> None:
        """Start what is not there yet of an attempt; nothing of one that was started or stopped."""
        await asyncio.to_thread(self._start, launch)

    async def observe(self, job: str, attempt: int) -> Observation:
        """Look at an attempt."""
        return await asyncio.to_thread(_observe, self._folder(job, attempt))

    async def stop(self, job: str, attempt: int, *, done: bool = False) -> None:
        """End what still runs of an attempt and free its scratch space; it cannot start any more."""
        folder = self._folder(job, attempt)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stopped").touch()
        for delay in _ending(_process_files(folder), self._grace_seconds):
            await asyncio.sleep(delay)
        for scratch in folder.glob("scratch-*"):
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def suspend(self, job: str, attempt: int) -> int:
        """End what still runs of an attempt; processes are told its number, so it has begun."""
        await self.stop(job, attempt)
        return attempt

    async def clean(self, job: str) -> None:
        """Remove every trace of a job, logs included, and end what still runs of it."""
        folder = self._folder(job)
        for delay in _ending(_process_files(folder), self._grace_seconds):
            await asyncio.sleep(delay)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def logs(self, job: str) -> list[Log]:
        """Return what the workers of a job wrote, the oldest first."""
        return await asyncio.to_thread(_logs, self._folder(job))

    async def show(self, job: str, status: job_pb2.JobStatus) -> None:
        """Do nothing: there is nobody but the service who looks at processes."""

    def listen(self, changed: Callable[[str], None]) -> None:
        """Do nothing: processes are looked at, now and then."""

    def _folder(self, job: str, attempt: int | None = None) -> Path:
        folder = self._run_directory / job.replace("/", ".")
        return folder if attempt is None else folder / str(attempt)

    def _start(self, launch: Launch) -> None:
        folder = self._folder(launch.job, launch.attempt)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "stopped").exists():
            return
        peers = _read_launch(folder)
        if peers is None:
            peers = _agree_on_launch(folder, _free_addresses(launch.workers))
        for number, process_file in enumerate(_workers(folder, len(peers))):
            handle = process_file.claim()
            if handle is None:
                continue
            try:
                self._spawn(launch, folder, number, peers=peers, handle=handle)
            finally:
                os.close(handle)

    def _spawn(self, launch: Launch, folder: Path, number: int, *, peers: Sequence[str], handle: int) -> None:
        scratch = folder / f"scratch-{number}"
        scratch.mkdir(exist_ok=True)
        # The service's own settings are not the worker's business; all else (PATH, AWS_*, ...) is.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")}
        environment = {
            **inherited,
            **launch.environment,
            "LEPTON_ATTEMPT": str(launch.attempt),
            "LEPTON_WORKER_INDEX": str(number),
            "LEPTON_RUN_DIRECTORY": str(scratch),
            "LEPTON_PEERS": ",".join(peers),
        }
        command = [self._python, "-m", "lepton_common.jobs.child", str(handle), launch.module]
        with _log_path(folder, number).open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(handle,),
            )
        # Collected as soon as it ends, so that none stays behind as a zombie.
        threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()


def stop_all(run_directory: Path, *, grace_seconds: float = 10) -> int:
    """End every worker below a run directory, and say how many there were.

    For whoever started the services and ends them for good: workers go on without them. Their
    jobs are not changed; a service that is started again starts the next attempt of each.
    """
    running = [file for file in _process_files(run_directory) if file.alive()]
    for delay in _ending(running, grace_seconds):
        time.sleep(delay)
    return len(running)


def _observe(folder: Path) -> Observation:
    stopped = (folder / "stopped").exists()
    peers = _read_launch(folder)
    if peers is None:
        return Observation(Phase.ENDED, "stopped before it ran") if stopped else Observation(Phase.ABSENT)
    running = False
    for number, process_file in enumerate(_workers(folder, len(peers))):
        if process_file.alive():
            running = True
        elif process_file.pid is None and not stopped:
            return Observation(Phase.ABSENT)
        elif process_file.exit_code != 0:
            who = "the worker" if len(peers) == 1 else f"worker {number} of {len(peers)}"
            how = _how_it_ended(process_file.exit_code)
            return Observation(Phase.ENDED, f"{who} was lost ({how})", _tail(_log_path(folder, number)))
    return Observation(Phase.RUNNING if running else Phase.ENDED)


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None:
        return "killed"
    return "it asked for a restart" if exit_code == RESTART_EXIT_CODE else f"exit code {exit_code}"


def _ending(workers: Sequence[ProcessFile], grace_seconds: float) -> Iterator[float]:
    """Send the signals that end `workers`; yields how long to sleep until the next look."""
    asked: set[Path] = set()
    deadline = time.monotonic() + grace_seconds
    while running := [worker for worker in workers if worker.alive()]:
        overdue = time.monotonic() >= deadline
        for worker in running:
            # One that was started this instant has not said its id yet: the next look finds it.
            if overdue:
                worker.signal(signal.SIGKILL)
            elif worker.path not in asked and worker.signal(signal.SIGTERM):
                asked.add(worker.path)
        yield _LOOK_SECONDS


def _process_files(folder: Path) -> list[ProcessFile]:
    return [ProcessFile(path) for path in sorted(folder.rglob("worker-*")) if not path.suffix]


def _workers(folder: Path, count: int) -> list[ProcessFile]:
    return [ProcessFile(folder / f"worker-{number}") for number in range(count)]


def _log_path(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.log"


def _tail(log: Path) -> str:
    return "\n".join(_end_of(log, _LOG_BYTES).splitlines()[-_LOG_LINES:])


def _end_of(log: Path, size: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _logs(folder: Path) -> list[Log]:
    attempts = sorted((each for each in folder.glob("[0-9]*") if each.name.isdecimal()), key=_number)
    return [
        Log(f"attempt {attempt.name}, worker {_number(log)}", _end_of(log, LOG_BYTES))
        for attempt in attempts
        for log in sorted(attempt.glob("worker-*.log"), key=_number)
    ]


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("worker-"))


def _read_launch(folder: Path) -> list[str] | None:
    try:
        document: dict[str, Any] = json.loads((folder / "launch.json").read_text())
    except FileNotFoundError:
        return None
    peers: list[str] = document["peers"]
    return peers


def _agree_on_launch(folder: Path, peers: Sequence[str]) -> list[str]:
    """Write the peers down unless a start at the same time did so first; return those that hold."""
    with NamedTemporaryFile("w", dir=folder, prefix="launch.", suffix=".part") as draft:
        json.dump({"peers": peers}, draft)
        draft.flush()
        with suppress(FileExistsError):
            os.link(draft.name, folder / "launch.json")
    return _read_launch(folder) or [*peers]


def _free_addresses(count: int) -> list[str]:
    """Choose a loopback address for each worker; all are held open until all are chosen."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for chosen in sockets:
            chosen.bind(("127.0.0.1", 0))
        return ["{}:{}".format(*chosen.getsockname()) for chosen in sockets]
