"""Servers as processes on a core of their own, what they cost, and how they end."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc

FOLDER = Path(__file__).resolve().parent.parent
SERVER_CORE, LOAD_CORE = 0, 1
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
MODULES = {"PYTHONPATH": os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])}
"""The environment of programs of this package."""
READY_SECONDS = 180
STOP_SECONDS = 10


@dataclass(frozen=True)
class Server:
    """A server that answers `inference.GRPCInferenceService`."""

    name: str
    address: str
    """`host:port`."""
    process: psutil.Process
    """It and its children are the server."""

    def cpu_seconds(self) -> float:
        """The CPU time it has used, system calls, children and those that have ended included."""
        return sum(sum(process.cpu_times()[:4]) for process in self._tree())

    def memory_bytes(self) -> int:
        """The memory it has in use now."""
        return sum(process.memory_info().rss for process in self._tree())

    def _tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def running(
    command: list[str], folder: Path, *, settings: Mapping[str, str], core: int = SERVER_CORE
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process on one core in a folder, which is made where it is missing; what it says goes to `log` there.

    Its children end with it.
    """
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            cwd=folder,
            env={**os.environ, **ONE_THREAD, **settings},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
        process.wait()


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Waits for a process to be ready; ends the program with its log if it does not come to that."""
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{folder.name} did not start:\n{(folder / 'log').read_text(errors='replace')}")
        time.sleep(0.05)


def wait_for_models(
    server: Server, names: Sequence[str], process: "subprocess.Popen[bytes]", folder: Path
) -> None:
    """Waits for a server to say that all of these models are ready."""
    with grpc.insecure_channel(server.address) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)

        def ready() -> bool:
            with suppress(grpc.RpcError):
                return all(
                    stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=5).ready for name in names
                )
            return False

        wait_until(ready, process, folder)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
