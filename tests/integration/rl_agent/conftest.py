"""A real agent service on loopback, beside a real registry; learning runs are real processes."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lepton.agent.v1 import agent_pb2 as pb
from lepton.agent.v1 import agent_pb2_grpc
from lepton.endpoint.v1 import endpoint_pb2_grpc
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.processes import ProcessLauncher, stop_all
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.records.database import Database
from lepton_common.rpc import connect, named_errors
from lepton_common.server import Server, Service
from lepton_common.settings import ServerSettings
from lepton_registry.api import services as registry_services
from lepton_rl_agent.adapters.agents import AgentRecords
from lepton_rl_agent.adapters.decision_log import DecisionLog
from lepton_rl_agent.adapters.kind import LearningKind
from lepton_rl_agent.adapters.policies import Policies
from lepton_rl_agent.api import AgentServicer

LAKE = pb.Agent(environment="FrozenLake-v1", q_learning=pb.QLearning(initial_value=1.0))
SHOP = pb.Agent(
    spaces=pb.Spaces(discrete=pb.DiscreteSpace(size=3), actions=3),
    q_learning=pb.QLearning(learning_rate=1.0),
    exploration=pb.Exploration(epsilon_greedy=pb.EpsilonGreedy(epsilon=0.25)),
)
POLE = pb.Agent(environment="CartPole-v1", dqn=pb.Dqn())


@dataclass(frozen=True)
class Registry:
    """A running registry."""

    address: str
    models: model_pb2_grpc.ModelServiceAsyncStub
    endpoints: endpoint_pb2_grpc.EndpointServiceAsyncStub

    async def version(self, name: str) -> model_pb2.ModelVersion:
        """Read a version."""
        with named_errors():
            request = model_pb2.GetModelVersionRequest(name=name)
            return (await self.models.GetModelVersion(request, timeout=10)).model_version


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """An empty registry."""
    records = await ResourceStore.open(f"sqlite://{tmp_path}/registry.db")
    objects = ObjectStore(f"file://{tmp_path}/objects")
    async with (
        Server(ServerSettings(drain_seconds=1), registry_services(records, objects)) as server,
        connect(server.address) as channel,
    ):
        yield Registry(
            server.address,
            model_pb2_grpc.ModelServiceStub(channel),
            endpoint_pb2_grpc.EndpointServiceStub(channel),
        )
    await records.close()


@dataclass(frozen=True)
class AgentService:
    """The stub of an agent service, and short ways to use it."""

    stub: agent_pb2_grpc.AgentServiceAsyncStub
    objects: ObjectStore

    async def create(self, agent_id: str, agent: pb.Agent, *, request_id: str = "") -> pb.Agent:
        """Make an agent."""
        request = pb.CreateAgentRequest(agent_id=agent_id, agent=agent, request_id=request_id)
        with named_errors():
            return (await self.stub.CreateAgent(request, timeout=20)).agent

    async def get(self, name: str) -> pb.Agent:
        """Read an agent."""
        with named_errors():
            return (await self.stub.GetAgent(pb.GetAgentRequest(name=name), timeout=10)).agent

    async def update(self, agent: pb.Agent) -> pb.Agent:
        """Replace what may be set of an agent."""
        with named_errors():
            return (await self.stub.UpdateAgent(pb.UpdateAgentRequest(agent=agent), timeout=10)).agent

    async def delete(self, name: str, *, etag: str = "") -> None:
        """Delete an agent."""
        with named_errors():
            await self.stub.DeleteAgent(pb.DeleteAgentRequest(name=name, etag=etag), timeout=20)

    async def act(self, agent: str, seen: int | list[float], **fields: Any) -> pb.Decision:
        """Let an agent choose."""
        request = pb.ActRequest(agent=agent, observation=observation(seen), **fields)
        with named_errors():
            return (await self.stub.Act(request, timeout=10)).decision

    async def tell(self, decision: pb.Decision, reward: float, **fields: Any) -> pb.Decision:
        """Tell what became of a decision."""
        request = pb.RecordFeedbackRequest(
            agent=decision.agent, decision_id=decision.id, feedback=pb.Feedback(reward=reward, **fields)
        )
        with named_errors():
            return (await self.stub.RecordFeedback(request, timeout=10)).decision

    async def decisions(self, agent: str, **fields: Any) -> pb.ListDecisionsResponse:
        """Read a page of the log."""
        with named_errors():
            return await self.stub.ListDecisions(pb.ListDecisionsRequest(parent=agent, **fields), timeout=10)

    async def learn(
        self, agent: str, run_id: str = "r1", *, request_id: str = "", **spec: Any
    ) -> pb.LearningRun:
        """Start a learning run."""
        request = pb.CreateLearningRunRequest(
            parent=agent,
            learning_run_id=run_id,
            learning_run=pb.LearningRun(spec=pb.LearningSpec(**spec)),
            request_id=request_id,
        )
        with named_errors():
            return (await self.stub.CreateLearningRun(request, timeout=10)).learning_run

    async def watch(self, run: pb.LearningRun) -> AsyncIterator[pb.LearningRun]:
        """Follow a run to its end."""
        request = pb.WatchLearningRunRequest(name=run.name)
        with named_errors():
            async for seen in self.stub.WatchLearningRun(request, timeout=110):
                yield seen.learning_run

    async def ended(self, run: pb.LearningRun) -> pb.LearningRun:
        """A run at its end."""
        *_, last = [seen async for seen in self.watch(run)]
        return last

    async def cancel(self, run: pb.LearningRun) -> pb.LearningRun:
        """Ask a run to stop."""
        request = pb.CancelLearningRunRequest(name=run.name)
        with named_errors():
            return (await self.stub.CancelLearningRun(request, timeout=10)).learning_run


def observation(seen: int | list[float]) -> pb.Observation:
    """The message of what was seen."""
    if isinstance(seen, int):
        return pb.Observation(discrete=seen)
    return pb.Observation(box=pb.Vector(values=seen))


@asynccontextmanager
async def running(folder: Path, registry: str) -> AsyncIterator[AgentService]:
    """Run an agent service over the files in a folder, given the address of the registry."""
    async with AsyncExitStack() as stack:
        database = await Database.open(f"sqlite://{folder}/agents.db")
        stack.push_async_callback(database.close)
        decisions = await DecisionLog.open(database)
        stack.push_async_callback(decisions.close)
        objects = ObjectStore(f"file://{folder}/objects")
        launcher = ProcessLauncher(folder / "run", grace_seconds=5)
        models = model_pb2_grpc.ModelServiceStub(await stack.enter_async_context(connect(registry)))
        records = AgentRecords(
            ResourceStore(database),
            decisions,
            policies=Policies(models, objects),
            launcher=launcher,
            objects=objects,
        )
        controller = Controller(
            LearningKind(records.runs, objects, agents=records.agents, decisions=decisions, models=models),
            launcher,
            objects,
            object_store_url=objects.url,
            poll_seconds=0.1,
        )
        service = Service(
            descriptor=pb.DESCRIPTOR.services_by_name["AgentService"],
            add=agent_pb2_grpc.add_AgentServiceServicer_to_server,
            servicer=AgentServicer(
                records, decisions, controller=controller, launcher=launcher, objects=objects
            ),
        )
        tasks = [controller.run, records.follow_changes]
        server = await stack.enter_async_context(
            Server(ServerSettings(drain_seconds=1), [service], tasks=tasks)
        )
        channel = await stack.enter_async_context(connect(server.address))
        yield AgentService(agent_pb2_grpc.AgentServiceStub(channel), objects)


@pytest.fixture
async def service(tmp_path: Path, registry: Registry) -> AsyncIterator[AgentService]:
    """An agent service without agents."""
    async with running(tmp_path, registry.address) as found:
        yield found
    await asyncio.to_thread(stop_all, tmp_path / "run", grace_seconds=0)
