"""A service as it is started: a process that finds its settings in the environment."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServiceProcess:
    """A service that runs.

    Attributes:
        popen: The process.
        address: `host:port` where it answers.
    """

    popen: "subprocess.Popen[bytes]"
    address: str

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.popen.kill()
        self.popen.wait()


@contextmanager
def running(folder: Path, *command: str, **environment: str) -> Iterator[ServiceProcess]:
    """Start a service and wait until it is ready; it is killed in the end.

    Args:
        folder: What it keeps is in here, and there again when it is started again.
        command: What Python runs, as `-m` and a module.
        environment: What it is told beyond where it keeps things.
    """
    address_file = folder / "address"
    address_file.unlink(missing_ok=True)
    stores = {
        "LEPTON_ADDRESS_FILE": str(address_file),
        "LEPTON_DATABASE_URL": f"sqlite://{folder}/records.db",
        "LEPTON_OBJECT_STORE_URL": f"file://{folder}/objects",
        "LEPTON_RUN_DIRECTORY": f"{folder}/run",
    }
    with subprocess.Popen([sys.executable, *command], env=os.environ | stores | environment) as popen:
        try:
            deadline = time.monotonic() + 60
            while not address_file.exists():
                assert popen.poll() is None, "it has ended"
                assert time.monotonic() < deadline, "it is not ready"
                time.sleep(0.02)
            yield ServiceProcess(popen, address_file.read_text())
        finally:
            popen.kill()
