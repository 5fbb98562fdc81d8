"""The agent service as it is started: `python -m lepton_rl_agent`."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lepton.agent.v1 import agent_pb2_grpc
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect

from .conftest import SHOP, AgentService

if TYPE_CHECKING:
    from .conftest import Registry

REST_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True)
class Process:
    """A running agent service."""

    handle: subprocess.Popen[bytes]
    address: str

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.handle.kill()
        self.handle.wait()


@contextmanager
def process(folder: Path, registry: Registry) -> Iterator[Process]:
    """Start an agent service over the files in a folder; it is killed at the end."""
    address_file = folder / "address"
    address_file.unlink(missing_ok=True)
    settings = {
        "LEPTON_ADDRESS_FILE": str(address_file),
        "LEPTON_DATABASE_URL": f"sqlite://{folder}/agents.db",
        "LEPTON_OBJECT_STORE_URL": f"file://{folder}/objects",
        "LEPTON_RUN_DIRECTORY": str(folder / "run"),
        "LEPTON_REGISTRY_ADDRESS": registry.address,
    }
    with subprocess.Popen([sys.executable, "-m", "lepton_rl_agent"], env=os.environ | settings) as handle:
        try:
            deadline = time.monotonic() + 60
            while not address_file.exists():
                assert handle.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            yield Process(handle, address_file.read_text())
        finally:
            handle.kill()


async def test_it_is_small_and_ends_when_told(tmp_path: Path, registry: Registry) -> None:
    with process(tmp_path, registry) as running:
        assert psutil.Process(running.handle.pid).memory_info().rss < REST_BYTES
        running.handle.terminate()
        assert running.handle.wait(30) == 0


async def test_no_decision_that_was_answered_is_lost_by_a_kill(tmp_path: Path, registry: Registry) -> None:
    objects = ObjectStore(f"file://{tmp_path}/objects")
    answered = []
    with process(tmp_path, registry) as running:
        async with connect(running.address) as channel:
            service = AgentService(agent_pb2_grpc.AgentServiceStub(channel), objects)
            await service.create("shop", SHOP)
            for number in range(20):
                decision = await service.act("agents/shop", number % 3, request_id=str(number))
                answered.append(await service.tell(decision, number))
            running.kill()
    with process(tmp_path, registry) as running:
        async with connect(running.address) as channel:
            service = AgentService(agent_pb2_grpc.AgentServiceStub(channel), objects)
            assert [*(await service.decisions("agents/shop")).decisions] == answered
            assert await service.act("agents/shop", 1, request_id="1") == answered[1]
