"""Agents and all that is theirs: learning runs, decisions, and the policy they act by."""

import asyncio
import logging

from lepton.agent.v1.agent_pb2 import Agent, LearningRun
from lepton_common.errors import FieldViolation, InUse, InvalidField, LeptonError
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.launcher import Launcher
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection, ResourceStore, Transaction, check_etag
from lepton_rl_agent.acting import Actor, Roster
from lepton_rl_agent.adapters.decision_log import DecisionLog
from lepton_rl_agent.adapters.messages import config_of, settle_agent
from lepton_rl_agent.adapters.policies import Policies

_RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class AgentRecords:
    """The agents of this service.

    Attributes:
        agents: `agents/{agent}`.
        runs: `agents/{agent}/learningRuns/{learning_run}`.
        roster: those that are ready to act.
    """

    def __init__(
        self,
        store: ResourceStore,
        decisions: DecisionLog,
        *,
        policies: Policies,
        launcher: Launcher,
        objects: ObjectStore,
    ) -> None:
        """Keep agents and runs in `store`; `launcher` and `objects` hold what runs leave behind."""
        self.agents: Collection[Agent] = store.collection(Agent)
        self.runs: Collection[LearningRun] = store.collection(LearningRun, index=life.index)
        self.roster = Roster(self._prepare)
        self._store = store
        self._decisions = decisions
        self._policies = policies
        self._launcher = launcher
        self._objects = objects

    async def create(self, agent: Agent, *, request_id: str) -> Agent:
        """Add an agent; its defaults are filled in.

        Raises:
            AlreadyExists: there is one of this name, made by another request.
            InvalidField: its parts do not go together.
        """
        # In a thread: the first environment takes a while to load.
        await asyncio.to_thread(settle_agent, agent)
        return await self.agents.create(agent, request_id=request_id)

    async def update(self, agent: Agent) -> Agent:
        """Replace what the caller may set of an agent; an etag, if given, must still hold.

        Raises:
            NotFound: there is none of this name.
            EtagMismatch: it has changed.
            InvalidField: it sees or does other things, its parts do not go together, or the policy is
                none of its own.
        """
        known = await self.agents.get(agent.name)
        _check_same_world(known, agent)
        agent.spaces.CopyFrom(known.spaces)
        config = await asyncio.to_thread(settle_agent, agent)
        if agent.policy and agent.policy != known.policy:
            await self._policies.check(agent.policy, config.spaces, agent=agent.name)

        def replace(stored: Agent) -> None:
            _check_same_world(stored, agent)
            for field in ("q_learning", "dqn", "exploration"):
                stored.ClearField(field)
                if agent.HasField(field):
                    getattr(stored, field).CopyFrom(getattr(agent, field))
            stored.labels.clear()
            stored.labels.update(agent.labels)
            stored.discount, stored.policy, stored.model = agent.discount, agent.policy, agent.model

        updated = await self.agents.update(agent.name, replace, etag=agent.etag)
        self.roster.forget()
        return updated

    async def delete(self, name: str, *, etag: str) -> None:
        """Remove an agent with its runs, their files, and its decisions; the policies stay.

        The agent goes last: a deletion that was cut off can be asked for again.

        Raises:
            NotFound: there is none of this name.
            EtagMismatch: `etag` is given, and it has another.
            InUse: one of its runs has not ended.
        """
        agent = await self.agents.get(name)
        check_etag(agent, etag)
        ended = [run async for run in self.runs.each(parent=name)]
        _check_ended(ended)
        for run in ended:
            await self._launcher.clean(life.key(run))
            await asyncio.to_thread(self._objects.delete_prefix, files.prefix(life.key(run)))
        await self._decisions.delete(agent.uid)

        def body(transaction: Transaction) -> None:
            runs = transaction.rows(self.runs)
            _check_ended(list(runs.each(parent=name)))
            transaction.rows(self.agents).delete(name, etag=etag)
            runs.delete_children(name)

        await self._store.transaction(body, self.agents, self.runs)
        self.roster.forget()

    async def create_run(self, run: LearningRun, *, request_id: str) -> LearningRun:
        """Add a learning run to its agent.

        Raises:
            NotFound: there is no such agent.
            AlreadyExists: there is such a run, made by another request.
            InvalidField: it is to act in an environment and the agent has none.
        """
        parent = run.name.partition("/learningRuns/")[0]

        def body(transaction: Transaction) -> LearningRun:
            agent = transaction.rows(self.agents).get(parent)
            if run.spec.HasField("simulation") and not agent.environment:
                rule = "needs an agent with an environment; this one can learn from `logged_feedback`"
                raise InvalidField(
                    "the agent has no environment",
                    violations=[FieldViolation("learning_run.spec.simulation", rule)],
                )
            return transaction.rows(self.runs).create(run, request_id=request_id)

        return await self._store.transaction(body, self.agents, self.runs)

    async def follow_changes(self) -> None:
        """Let no agent act by what it no longer is, whichever replica has changed it; runs for ever."""
        while True:
            try:
                async for _ in self.agents.changes():
                    self.roster.forget()
            except LeptonError as error:
                _log.warning("changes of agents cannot be followed: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _prepare(self, name: str, before: Actor | None) -> Actor:
        agent = await self.agents.get(name)
        config = config_of(agent)
        policy = None
        if before is not None and (before.uid, before.version) == (agent.uid, agent.policy):
            # A version never changes, nor does what an agent sees: what is loaded stays right.
            policy = before.policy
        elif agent.policy:
            policy = await self._policies.load(agent.policy, config.spaces)
        return Actor(uid=agent.uid, config=config, version=agent.policy, policy=policy)


def _check_same_world(known: Agent, wanted: Agent) -> None:
    if wanted.environment != known.environment:
        raise _fixed("agent.environment")
    if wanted.HasField("spaces") and wanted.spaces != known.spaces:
        raise _fixed("agent.spaces")


def _fixed(field: str) -> InvalidField:
    rule = "stays as it was made: decisions and policies rest on it"
    return InvalidField(f"{field} cannot be changed", violations=[FieldViolation(field, rule)])


def _check_ended(runs: list[LearningRun]) -> None:
    for run in runs:
        if not life.is_final(run.status.state):
            raise InUse(f"{run.name!r} has not ended: cancel it first", metadata={"name": run.name})
