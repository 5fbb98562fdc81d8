"""A cluster as the tests see it: what kubectl prints, and the faults that can be caused."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Namespace:
    """A namespace of the cluster that KUBECONFIG names."""

    name: str

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """What kubectl prints."""
        return run("kubectl", "--namespace", self.name, *arguments, given=given)

    def objects(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """Objects of the namespace."""
        listed: dict[str, Any] = json.loads(self.kubectl("get", kind, "--output", "json", *arguments))
        items: list[dict[str, Any]] = listed["items"]
        return items


@dataclass(frozen=True)
class Faults:
    """What can be done to a node."""

    tool: str

    def __call__(self, *arguments: str) -> None:
        """Cause a fault or mend it: `kill gpu-0`, `start gpu-0`, `cut`, `mend`, `fail-gpu`, `heal-gpu`; or
        `simulate` nodes."""
        run(self.tool, *arguments)


def run(*command: str, given: str = "", seconds: float | None = None) -> str:
    """What a command prints; with what it said of its failure if it fails."""
    ended = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=seconds)
    if ended.returncode:
        raise AssertionError(f"{' '.join(command)}: {ended.stdout[-2000:]}{ended.stderr[-4000:]}")
    return ended.stdout


async def eventually(holds: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        await asyncio.sleep(0.5)
