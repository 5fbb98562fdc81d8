"""Lepton on one machine: every service a process on loopback, SQLite and a folder as its stores.

The processes are those of a cluster, with other settings. A service that dies is started again at the
same address; workers outlive the service that started them and are found again by it. Services that outlive
`lepton up` itself, because it was killed, are ended by the next one.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from lepton_common.errors import DependencyUnavailable, WrongState
from lepton_common.jobs.process_file import ProcessFile
from lepton_common.jobs.processes import stop_all
from lepton_sdk.addresses import Addresses
from lepton_sdk.ports import choose_addresses

FIRST_PORT = 7101
LOCK = "lock"
READY_SECONDS = 30.0
STOP_SECONDS = 25.0
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 10.0
HEALTHY_SECONDS = 10.0

MODULES = {field.name: f"lepton_{field.name}" for field in fields(Addresses)}
"""Python module of every service, in the order of their default ports."""


@dataclass
class Process:
    """One service and the process that runs it now."""

    service: str
    environment: dict[str, str]
    log: Path
    file: ProcessFile
    """By which the next `lepton up` finds it, should this one be killed."""
    handle: asyncio.subprocess.Process | None = None


class LocalCloud:
    """All services below one folder."""

    def __init__(self, directory: Path, *, first_port: int = FIRST_PORT) -> None:
        self.directory = directory.resolve()
        self.endpoints_file = self.directory / "endpoints.json"
        self.addresses = choose_addresses(self.endpoints_file, first_port)
        self.processes = {service: self._describe(service) for service in MODULES}

    def _describe(self, service: str) -> Process:
        home = _home(self.directory, service)
        environment = {
            "LEPTON_LISTEN": getattr(self.addresses, service),
            "LEPTON_ADDRESS_FILE": str(home / "address"),
            "LEPTON_DATABASE_URL": f"sqlite:///{home / 'records.db'}",
            "LEPTON_OBJECT_STORE_URL": f"file://{self.directory / 'objects'}",
            "LEPTON_RUN_DIRECTORY": str(home / "run"),
            "LEPTON_REGISTRY_ADDRESS": self.addresses.registry,
            "LEPTON_DATA_INGEST_ADDRESS": self.addresses.data_ingest,
        }
        return Process(
            service,
            environment,
            self.directory / "logs" / f"{home.name}.log",
            _process_file(self.directory, service),
        )

    async def start(self) -> None:
        """Start every service and wait until all of them listen.

        Raises:
            DependencyUnavailable: one did not come up; the text names its log.
        """
        for folder in ("logs", "objects"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        for process in self.processes.values():
            home = Path(process.environment["LEPTON_RUN_DIRECTORY"])
            home.mkdir(parents=True, exist_ok=True)
            Path(process.environment["LEPTON_ADDRESS_FILE"]).unlink(missing_ok=True)
            await self._launch(process)
        await asyncio.gather(*(self._ready(process) for process in self.processes.values()))
        self.addresses.write(self.endpoints_file)

    async def _launch(self, process: Process) -> None:
        process.file.path.unlink(missing_ok=True)
        claim = process.file.claim()
        assert claim is not None, "the supervisor alone starts services of this folder"
        with process.log.open("ab") as log, os.fdopen(claim, "wb") as claimed:
            process.handle = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                MODULES[process.service],
                env=os.environ | process.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # An interrupt from the keyboard is for the supervisor, which then stops all in order.
                start_new_session=True,
                pass_fds=(claim,),
            )
            claimed.write(f"{process.handle.pid}\n".encode())

    async def _ready(self, process: Process) -> None:
        address_file = Path(process.environment["LEPTON_ADDRESS_FILE"])
        clock = asyncio.get_running_loop().time
        deadline = clock() + READY_SECONDS
        while not address_file.exists():
            assert process.handle is not None
            if process.handle.returncode is not None or clock() > deadline:
                raise DependencyUnavailable(f"{process.service} did not start; its log is {process.log}")
            await asyncio.sleep(0.05)

    async def supervise(self) -> None:
        """Start services that die again, each with a growing pause, until cancelled."""
        await asyncio.gather(*(self._keep_alive(process) for process in self.processes.values()))

    async def _keep_alive(self, process: Process) -> None:
        clock = asyncio.get_running_loop().time
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            assert process.handle is not None
            started = clock()
            await process.handle.wait()
            # One that ran for a while was healthy: what ended it is no reason to hesitate.
            if clock() - started > HEALTHY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            await self._launch(process)

    async def stop(self) -> None:
        """Drain and end every service, then the workers that are left; their jobs go on at the next start."""
        living = [
            process.handle
            for process in self.processes.values()
            if process.handle is not None and process.handle.returncode is None
        ]
        for handle in living:
            with contextlib.suppress(ProcessLookupError):
                handle.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.gather(*(handle.wait() for handle in living)), STOP_SECONDS)
        except TimeoutError:
            for handle in living:
                with contextlib.suppress(ProcessLookupError):
                    handle.kill()
            await asyncio.gather(*(handle.wait() for handle in living))
        for process in self.processes.values():
            await asyncio.to_thread(stop_all, Path(process.environment["LEPTON_RUN_DIRECTORY"]))


@asynccontextmanager
async def running(directory: Path, *, first_port: int = FIRST_PORT) -> AsyncIterator[LocalCloud]:
    """Services below `directory`, supervised while the block runs and stopped after it.

    They take `first_port` and the next five where these are free; 0 lets the system choose.

    Raises:
        WrongState: services of this folder are running already.
    """
    with _held(directory):
        await _end_left_over(directory)
        cloud = LocalCloud(directory, first_port=first_port)
        try:
            await cloud.start()
            supervisor = asyncio.create_task(cloud.supervise())
            try:
                yield cloud
            finally:
                supervisor.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await supervisor
        finally:
            await cloud.stop()


async def clear(directory: Path) -> None:
    """Remove what services below `directory` have stored.

    Raises:
        WrongState: services of this folder are running.
    """
    with _held(directory):
        await _end_left_over(directory)
        for entry in directory.iterdir():
            if entry.name == LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                await asyncio.to_thread(shutil.rmtree, entry)
            else:
                entry.unlink()


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Nobody else starts services of this folder while the block runs."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise WrongState(
                f"Lepton already runs in {directory}; stop it first, or name another folder"
            ) from held
        yield


async def _end_left_over(directory: Path) -> None:
    """End the services that a supervisor has left behind, as it would have done."""
    clock = asyncio.get_running_loop().time
    files = [_process_file(directory, service) for service in MODULES]
    deadline = clock() + STOP_SECONDS
    for file in filter(ProcessFile.alive, files):
        file.signal(signal.SIGTERM)
    while living := [file for file in files if file.alive()]:
        if clock() > deadline:
            for file in living:
                file.signal(signal.SIGKILL)
        await asyncio.sleep(0.05)


def _home(directory: Path, service: str) -> Path:
    return directory / service.replace("_", "-")


def _process_file(directory: Path, service: str) -> ProcessFile:
    return ProcessFile(_home(directory, service) / "process")
