"""Agents: act, tell what came of it, learn."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from numbers import Integral

from grpc import aio

from lepton.agent.v1 import agent_pb2, agent_pb2_grpc
from lepton_common.errors import InvalidField
from lepton_sdk.calls import call, pages, watch


class Agents:
    """Calls of the rl-agent service."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = agent_pb2_grpc.AgentServiceStub(channel)

    async def create(self, agent: str, content: agent_pb2.Agent, *, request_id: str = "") -> agent_pb2.Agent:
        """Make an agent of the id `agent`."""
        request = agent_pb2.CreateAgentRequest(
            agent_id=agent, agent=content, request_id=request_id or str(uuid.uuid4())
        )
        return (await call(self._stub.CreateAgent, request)).agent

    async def get(self, name: str) -> agent_pb2.Agent:
        """One agent by its name `agents/{agent}`."""
        return (await call(self._stub.GetAgent, agent_pb2.GetAgentRequest(name=name))).agent

    async def list(self, *, labels: dict[str, str] | None = None) -> list[agent_pb2.Agent]:
        """All agents that have these labels."""

        async def page(token: str) -> tuple[list[agent_pb2.Agent], str]:
            request = agent_pb2.ListAgentsRequest(page_token=token, label_filter=labels or {})
            response = await call(self._stub.ListAgents, request)
            return [*response.agents], response.next_page_token

        return await pages(page)

    async def delete(self, name: str) -> None:
        """Delete an agent with its decisions and learning runs."""
        await call(self._stub.DeleteAgent, agent_pb2.DeleteAgentRequest(name=name))

    async def act(
        self,
        agent: str,
        observation: int | Sequence[float],
        *,
        episode: str = "",
        request_id: str = "",
    ) -> agent_pb2.Decision:
        """Let the agent of this name choose an action for what is seen now.

        Args:
            agent: `agents/{agent}`.
            observation: a whole number, or the numbers of a box in row-major order.
            episode: ties decisions of one course of events together.
            request_id: a retry with the same gives the same decision.
        """
        request = agent_pb2.ActRequest(
            agent=agent,
            observation=observation_of(observation),
            episode=episode,
            request_id=request_id or str(uuid.uuid4()),
        )
        return (await call(self._stub.Act, request)).decision

    async def feedback(
        self,
        agent: str,
        decision: str,
        reward: float,
        *,
        terminated: bool = False,
        truncated: bool = False,
        next_observation: int | Sequence[float] | None = None,
    ) -> agent_pb2.Decision:
        """Tell what became of the decision of this id."""
        feedback = agent_pb2.Feedback(reward=reward, terminated=terminated, truncated=truncated)
        if next_observation is not None:
            feedback.next_observation.CopyFrom(observation_of(next_observation))
        request = agent_pb2.RecordFeedbackRequest(agent=agent, decision_id=decision, feedback=feedback)
        return (await call(self._stub.RecordFeedback, request)).decision

    async def decisions(self, agent: str) -> Sequence[agent_pb2.Decision]:
        """All decisions of an agent with their feedback, oldest first."""

        async def page(token: str) -> tuple[list[agent_pb2.Decision], str]:
            request = agent_pb2.ListDecisionsRequest(parent=agent, page_size=1000, page_token=token)
            response = await call(self._stub.ListDecisions, request)
            return [*response.decisions], response.next_page_token

        return await pages(page)

    async def learn(
        self,
        agent: str,
        run: str,
        spec: agent_pb2.LearningSpec,
        *,
        request_id: str = "",
    ) -> agent_pb2.LearningRun:
        """Accept a learning run of the id `run`; follow it with `watch_run`."""
        request = agent_pb2.CreateLearningRunRequest(
            parent=agent,
            learning_run_id=run,
            learning_run=agent_pb2.LearningRun(spec=spec),
            request_id=request_id or str(uuid.uuid4()),
        )
        return (await call(self._stub.CreateLearningRun, request)).learning_run

    async def get_run(self, name: str) -> agent_pb2.LearningRun:
        """One learning run by its name."""
        request = agent_pb2.GetLearningRunRequest(name=name)
        return (await call(self._stub.GetLearningRun, request)).learning_run

    async def runs(self, agent: str) -> Sequence[agent_pb2.LearningRun]:
        """All learning runs of an agent, newest first, without metrics."""

        async def page(token: str) -> tuple[list[agent_pb2.LearningRun], str]:
            request = agent_pb2.ListLearningRunsRequest(parent=agent, page_token=token)
            response = await call(self._stub.ListLearningRuns, request)
            return [*response.learning_runs], response.next_page_token

        return await pages(page)

    def watch_run(self, name: str) -> AsyncGenerator[agent_pb2.LearningRun, None]:
        """The learning run now and after every change, until it has ended."""
        request = agent_pb2.WatchLearningRunRequest(name=name)
        return watch(self._stub.WatchLearningRun, request, lambda response: response.learning_run)

    async def cancel_run(self, name: str) -> agent_pb2.LearningRun:
        """Ask the learning run to stop."""
        request = agent_pb2.CancelLearningRunRequest(name=name)
        return (await call(self._stub.CancelLearningRun, request)).learning_run


def observation_of(value: int | Sequence[float]) -> agent_pb2.Observation:
    """What is seen, as it is sent: a whole number, or the numbers of a box in row-major order.

    Raises:
        InvalidField: it is neither.
    """
    try:
        # Environments speak in numpy's whole numbers.
        if isinstance(value, int | Integral):
            return agent_pb2.Observation(discrete=int(value))
        return agent_pb2.Observation(box=agent_pb2.Vector(values=[*value]))
    except (TypeError, ValueError) as wrong:
        raise InvalidField(
            f"an observation is a whole number or a flat list of numbers, not {value!r:.60}"
        ) from wrong
