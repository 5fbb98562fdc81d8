"""The agent service as it is started: `python -m lepton_rl_agent`."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lepton.agent.v1 import agent_pb2_grpc
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect

from ..service_process import ServiceProcess, running
from .conftest import SHOP, AgentService

if TYPE_CHECKING:
    from .conftest import Registry

REST_BYTES = 200 * 1024 * 1024


def started(folder: Path, registry: Registry) -> AbstractContextManager[ServiceProcess]:
    """Start an agent service over the files in a folder."""
    return running(folder, "-m", "lepton_rl_agent", LEPTON_REGISTRY_ADDRESS=registry.address)


async def test_it_is_small_and_ends_when_told(tmp_path: Path, registry: Registry) -> None:
    with started(tmp_path, registry) as process:
        assert psutil.Process(process.popen.pid).memory_info().rss < REST_BYTES
        process.popen.terminate()
        assert process.popen.wait(30) == 0


async def test_no_decision_that_was_answered_is_lost_by_a_kill(tmp_path: Path, registry: Registry) -> None:
    objects = ObjectStore(f"file://{tmp_path}/objects")
    answered = []
    with started(tmp_path, registry) as process:
        async with connect(process.address) as channel:
            service = AgentService(agent_pb2_grpc.AgentServiceStub(channel), objects)
            await service.create("shop", SHOP)
            for number in range(20):
                decision = await service.act("agents/shop", number % 3, request_id=str(number))
                answered.append(await service.tell(decision, number))
            process.kill()
    with started(tmp_path, registry) as process:
        async with connect(process.address) as channel:
            service = AgentService(agent_pb2_grpc.AgentServiceStub(channel), objects)
            assert [*(await service.decisions("agents/shop")).decisions] == answered
            assert await service.act("agents/shop", 1, request_id="1") == answered[1]
