"""Lepton on one machine: every service a process on loopback, SQLite and a folder as its stores.

The processes are those of a cluster, with other settings. A service that dies is started again at the
same address; workers outlive the service that started them and are found again by it.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from lepton_common.errors import DependencyUnavailable, WrongState
from lepton_common.jobs.processes import stop_all
from lepton_sdk.addresses import Addresses

FIRST_PORT = 7101
READY_SECONDS = 30.0
STOP_SECONDS = 25.0
LONGEST_BACKOFF_SECONDS = 10.0

MODULES = {field.name: f"lepton_{field.name}" for field in fields(Addresses)}
"""Python module of every service, in the order of their default ports."""


@dataclass
class Process:
    """One service and the process that runs it now."""

    service: str
    environment: dict[str, str]
    log: Path
    restarts: int = 0
    handle: asyncio.subprocess.Process | None = None


class LocalCloud:
    """All services below one folder."""

    def __init__(self, directory: Path, *, first_port: int = FIRST_PORT) -> None:
        self.directory = directory.resolve()
        self.endpoints_file = self.directory / "endpoints.json"
        self.addresses = self._choose_addresses(first_port)
        self.processes = {service: self._describe(service) for service in MODULES}

    def _choose_addresses(self, first_port: int) -> Addresses:
        """The addresses of the last time, so that clients find what they knew; else the default ports,
        or any others that are free."""
        if self.endpoints_file.exists():
            known = Addresses.read(self.endpoints_file)
            if all(_is_free(int(address.rpartition(":")[2])) for address in asdict(known).values()):
                return known
        wanted = [first_port + place if first_port else 0 for place in range(len(MODULES))]
        with contextlib.ExitStack() as held:
            ports = [held.enter_context(_claimed(port)) for port in wanted]
        return Addresses(
            **{service: f"127.0.0.1:{port}" for service, port in zip(MODULES, ports, strict=True)}
        )

    def _describe(self, service: str) -> Process:
        home = self.directory / service.replace("_", "-")
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
            self.directory / "logs" / f"{service.replace('_', '-')}.log",
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
        with process.log.open("ab") as log:
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
            )

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
        while True:
            assert process.handle is not None
            started = clock()
            await process.handle.wait()
            # One that ran for a while was healthy: what ended it is no reason to hesitate.
            process.restarts = 0 if clock() - started > 60 else process.restarts + 1
            await asyncio.sleep(min(0.1 * 2**process.restarts, LONGEST_BACKOFF_SECONDS))
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
        for process in self.processes.values():
            await asyncio.to_thread(stop_all, Path(process.environment["LEPTON_RUN_DIRECTORY"]))


@asynccontextmanager
async def running(directory: Path, *, first_port: int = FIRST_PORT) -> AsyncIterator[LocalCloud]:
    """Services below `directory`, supervised while the block runs and stopped after it.

    They take `first_port` and the next five where these are free; 0 lets the system choose.

    Raises:
        WrongState: services of this folder are running already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        _take(lock, directory)
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


def _take(lock: IO[str], directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        raise WrongState(
            f"Lepton already runs in {directory}; stop it first, or name another folder"
        ) from held


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _claimed(port: int) -> Iterator[int]:
    """The port, or one that the system picks if it is taken; held while the block runs, so that no two
    services are given the same."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
