"""The methods of `lepton.agent.v1.AgentService`."""

import random
import uuid
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc

from lepton.agent.v1 import agent_pb2 as pb
from lepton.agent.v1.agent_pb2_grpc import AgentServiceServicer
from lepton_common.jobs import api
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.launcher import Launcher
from lepton_common.objects import ObjectStore
from lepton_rl_agent.adapters.agents import AgentRecords
from lepton_rl_agent.adapters.decision_log import DecisionLog
from lepton_rl_agent.adapters.messages import check_feedback, observation_of

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class AgentServicer(AgentServiceServicer):
    """Answers for agents, their decisions and their learning runs."""

    def __init__(
        self,
        records: AgentRecords,
        decisions: DecisionLog,
        *,
        controller: Controller[pb.LearningRun],
        launcher: Launcher,
        objects: ObjectStore,
    ) -> None:
        """Answer from `records` and `decisions`; `controller` brings learning runs to their end."""
        self._records = records
        self._decisions = decisions
        self._controller = controller
        self._launcher = launcher
        self._objects = objects

    async def CreateAgent(self, request: pb.CreateAgentRequest, context: Context) -> pb.CreateAgentResponse:
        """Makes an agent."""
        agent = request.agent
        agent.name = f"agents/{request.agent_id}"
        agent.policy = ""
        created = await self._records.create(agent, request_id=request.request_id)
        return pb.CreateAgentResponse(agent=created)

    async def GetAgent(self, request: pb.GetAgentRequest, context: Context) -> pb.GetAgentResponse:
        """Reads one agent."""
        return pb.GetAgentResponse(agent=await self._records.agents.get(request.name))

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Context) -> pb.ListAgentsResponse:
        """Lists agents, by name."""
        page = await self._records.agents.list(
            page_size=request.page_size, page_token=request.page_token, labels=request.label_filter
        )
        return pb.ListAgentsResponse(agents=page.items, next_page_token=page.next_page_token)

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, context: Context) -> pb.UpdateAgentResponse:
        """Replaces what the caller may set of the agent."""
        return pb.UpdateAgentResponse(agent=await self._records.update(request.agent))

    async def DeleteAgent(self, request: pb.DeleteAgentRequest, context: Context) -> pb.DeleteAgentResponse:
        """Deletes the agent, its learning runs and its decisions."""
        await self._records.delete(request.name, etag=request.etag)
        return pb.DeleteAgentResponse()

    async def Act(self, request: pb.ActRequest, context: Context) -> pb.ActResponse:
        """Chooses an action; the decision is stored before the answer is sent."""
        actor = await self._records.roster.find(request.agent)
        observation = observation_of(request.observation, actor.config.spaces.observation)
        choice = actor.choose(observation, uniform=random.random())
        decision = pb.Decision(
            id=uuid.uuid4().hex,
            agent=request.agent,
            episode=request.episode,
            observation=request.observation,
            action=choice.action,
            probability=choice.probability,
            policy=actor.version,
        )
        decision.time.GetCurrentTime()
        stored = await self._decisions.append(actor.uid, decision, request_id=request.request_id)
        return pb.ActResponse(decision=stored)

    async def RecordFeedback(
        self, request: pb.RecordFeedbackRequest, context: Context
    ) -> pb.RecordFeedbackResponse:
        """Tells what came of a decision. The last word on a decision counts."""
        actor = await self._records.roster.find(request.agent)
        check_feedback(request.feedback, actor.config.spaces.observation)
        stored = await self._decisions.record(actor.uid, request.decision_id, request.feedback)
        return pb.RecordFeedbackResponse(decision=stored)

    async def ListDecisions(
        self, request: pb.ListDecisionsRequest, context: Context
    ) -> pb.ListDecisionsResponse:
        """Lists the decisions of an agent with their feedback, oldest first."""
        agent = await self._records.agents.get(request.parent)
        decisions, token = await self._decisions.page(
            agent.uid, size=request.page_size, token=request.page_token
        )
        return pb.ListDecisionsResponse(decisions=decisions, next_page_token=token)

    async def CreateLearningRun(
        self, request: pb.CreateLearningRunRequest, context: Context
    ) -> pb.CreateLearningRunResponse:
        """Accepts a learning run."""
        run = pb.LearningRun(
            name=f"{request.parent}/learningRuns/{request.learning_run_id}",
            labels=request.learning_run.labels,
            spec=request.learning_run.spec,
            status=life.queued(),
        )
        created = await self._records.create_run(run, request_id=request.request_id)
        self._controller.wake()
        return pb.CreateLearningRunResponse(learning_run=created)

    async def GetLearningRun(
        self, request: pb.GetLearningRunRequest, context: Context
    ) -> pb.GetLearningRunResponse:
        """Reads one learning run."""
        return pb.GetLearningRunResponse(learning_run=await self._records.runs.get(request.name))

    async def ListLearningRuns(
        self, request: pb.ListLearningRunsRequest, context: Context
    ) -> pb.ListLearningRunsResponse:
        """Lists learning runs, newest first, without metrics."""
        page = await self._records.runs.list(
            parent=request.parent,
            page_size=request.page_size,
            page_token=request.page_token,
            labels=request.label_filter,
            newest_first=True,
        )
        return pb.ListLearningRunsResponse(
            learning_runs=[api.without_metrics(run) for run in page.items],
            next_page_token=page.next_page_token,
        )

    async def WatchLearningRun(
        self, request: pb.WatchLearningRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchLearningRunResponse]:
        """Sends the learning run now and after every change, until it has ended."""
        async for run in api.watch(self._records.runs, request.name):
            yield pb.WatchLearningRunResponse(learning_run=run)

    async def CancelLearningRun(
        self, request: pb.CancelLearningRunRequest, context: Context
    ) -> pb.CancelLearningRunResponse:
        """Asks the learning run to stop."""
        run = await api.cancel(self._records.runs, request.name, controller=self._controller)
        return pb.CancelLearningRunResponse(learning_run=run)

    async def DeleteLearningRun(
        self, request: pb.DeleteLearningRunRequest, context: Context
    ) -> pb.DeleteLearningRunResponse:
        """Deletes the learning run once it has ended."""
        await api.delete(
            self._records.runs,
            request.name,
            etag=request.etag,
            launcher=self._launcher,
            objects=self._objects,
        )
        return pb.DeleteLearningRunResponse()
