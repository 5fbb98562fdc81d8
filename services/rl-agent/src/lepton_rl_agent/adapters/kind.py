"""Learning as a kind of job: what its worker is told, and what becomes of what it made."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from google.protobuf.json_format import MessageToDict

from lepton.agent.v1.agent_pb2 import Agent, LearningRun
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.errors import NotFound, WrongState
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.kind import Work
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_common.registration import register
from lepton_rl_agent.adapters.decision_log import DecisionLog
from lepton_rl_agent.adapters.messages import config_of, decision_of
from lepton_rl_agent.spaces import ObservationSpace
from lepton_rl_agent.transitions import Joiner

WORKER = "lepton_rl_agent.worker"
"""The module that learns."""

MAX_DECISIONS = 1_000_000
"""The latest decisions that a run learns from, where their observations are not too large for it."""

MAX_OBSERVATION_BYTES = 256 * 1024 * 1024
"""Of the observations that a run learns from."""


class LearningKind:
    """The agent service's `JobKind`."""

    def __init__(
        self,
        collection: Collection[LearningRun],
        objects: ObjectStore,
        *,
        agents: Collection[Agent],
        decisions: DecisionLog,
        models: model_pb2_grpc.ModelServiceAsyncStub,
    ) -> None:
        """Keep runs in `collection` and their specs in `objects`; register with `models`."""
        self.collection = collection
        self._objects = objects
        self._agents = agents
        self._decisions = decisions
        self._models = models

    async def launch(self, job: LearningRun) -> Work:
        """Tell the worker how the agent learns, and what from.

        The first answer stays: a later attempt goes on with the agent and the log of the first one.

        Raises:
            NotFound: the agent is gone.
            WrongState: there is nothing to learn from.
        """
        with suppress(NotFound):
            known = await asyncio.to_thread(files.read_spec, self._objects, life.key(job))
            return Work(module=WORKER, spec=known)
        agent = await self._agents.get(_agent_of(job))
        config = config_of(agent)
        spec = {
            "agent": config.to_dict(),
            "spec": MessageToDict(job.spec, preserving_proto_field_name=True),
        }
        if job.spec.HasField("logged_feedback"):
            spec["transitions"] = await self._export(job, agent.uid, config.spaces.observation)
        return Work(module=WORKER, spec=spec)

    async def complete(self, job: LearningRun, outcome: Mapping[str, Any]) -> Callable[[LearningRun], None]:
        """Register the policy and let the agent act by it; the same run always gives the same version."""
        spec = await asyncio.to_thread(files.read_spec, self._objects, life.key(job))
        learned_from = spec.get("transitions", {}).get("sha256", "")
        version = await register(
            self._models,
            outcome,
            model=spec["agent"]["model"],
            model_format=model_pb2.MODEL_FORMAT_ONNX,
            lineage=[
                model_pb2.LineageNode(
                    name=job.name, kind=model_pb2.LINEAGE_KIND_LEARNING_RUN, digest=learned_from
                )
            ],
            request_id=job.uid,
        )

        def adopt(agent: Agent) -> None:
            agent.policy = version

        await self._agents.update(_agent_of(job), adopt)

        def write_down(stored: LearningRun) -> None:
            stored.model_version = version
            if "mean_reward" in outcome:
                stored.mean_reward = outcome["mean_reward"]

        return write_down

    async def _export(self, job: LearningRun, agent: str, space: ObservationSpace) -> dict[str, Any]:
        joiner = Joiner(space)
        limit = min(MAX_DECISIONS, MAX_OBSERVATION_BYTES // joiner.bytes_per_transition)
        async for decision in self._decisions.latest(agent, limit=limit):
            joiner.add(decision_of(decision, space))
        transitions = joiner.transitions()
        if not len(transitions):
            raise WrongState("no decision of the agent has feedback that says what came of it")
        data = await asyncio.to_thread(transitions.to_bytes)
        blob = await asyncio.to_thread(put_blob, self._objects, files.prefix(life.key(job)), data)
        return asdict(blob)


def _agent_of(run: LearningRun) -> str:
    return run.name.partition("/learningRuns/")[0]
