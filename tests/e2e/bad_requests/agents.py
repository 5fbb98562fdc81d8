"""Agents that cannot be, and what they do not see."""

import math
from typing import Any

from google.protobuf.message import Message

from lepton.agent.v1 import agent_pb2 as agent
from lepton_common.errors import InvalidField, NotFound

from .refusal import PAGE_RULE, Refusals, refusal


def create_agent(**facts: Any) -> Message:
    fields: dict[str, Any] = {"q_learning": agent.QLearning()} | facts
    if "dqn" in facts:
        del fields["q_learning"]
    return agent.CreateAgentRequest(agent_id="bad", agent=agent.Agent(**fields))


def act(name: str = "agents/pole", **observation: Any) -> Message:
    return agent.ActRequest(agent=name, observation=agent.Observation(**observation))


def box(*values: float) -> agent.Vector:
    return agent.Vector(values=values)


def learn(name: str, **spec: Any) -> Message:
    run = agent.LearningRun(spec=agent.LearningSpec(**spec))
    return agent.CreateLearningRunRequest(parent=name, learning_run_id="bad", learning_run=run)


AGENTS: Refusals = {
    "an unknown agent": refusal(act("agents/nope", discrete=0), NotFound, "'agents/nope'"),
    "an unknown environment": refusal(
        create_agent(environment="Nope-v0"), InvalidField, "'Nope-v0'", "agent.environment", "CartPole-v1"
    ),
    "an environment from a module": refusal(
        create_agent(environment="os:Env-v0"), InvalidField, "agent.environment", "^[A-Za-z0-9_-]*$"
    ),
    "nothing to live in": refusal(create_agent(), InvalidField, "agent.spaces", "no environment"),
    "no algorithm": refusal(
        agent.CreateAgentRequest(agent_id="bad", agent=agent.Agent(environment="CartPole-v1")),
        InvalidField,
        "agent.algorithm",
        "required",
    ),
    "a table for real numbers": refusal(
        create_agent(environment="CartPole-v1"), InvalidField, "q_learning", "use `dqn`"
    ),
    "a table larger than memory": refusal(
        create_agent(spaces=agent.Spaces(discrete=agent.DiscreteSpace(size=10**8), actions=10**5)),
        InvalidField,
        "agent.spaces",
        "at most 20000000",
    ),
    "a network larger than memory": refusal(
        create_agent(environment="CartPole-v1", dqn=agent.Dqn(hidden_units=[65536, 65536])),
        InvalidField,
        "agent.dqn.hidden_units",
        "at most 16000000",
    ),
    "a discount of NaN": refusal(
        create_agent(environment="CliffWalking-v1", discount=math.nan), InvalidField, "agent.discount"
    ),
    "an observation that is too short": refusal(
        act(box=box(1, 2, 3)), InvalidField, "observation", "must have 4 values"
    ),
    "an observation that is too long": refusal(
        act(box=box(*range(5))), InvalidField, "observation", "must have 4 values"
    ),
    "an observation of another kind": refusal(
        act(discrete=1), InvalidField, "observation", "must have 4 values"
    ),
    "an observation of NaN": refusal(
        act(box=box(1, 2, math.nan, 4)), InvalidField, "observation", "must be finite"
    ),
    "no observation": refusal(act(), InvalidField, "observation.value", "required"),
    "a state that does not exist": refusal(
        act("agents/walker", discrete=48), InvalidField, "observation", "from 0 to 47"
    ),
    "a negative state": refusal(
        act("agents/walker", discrete=-1), InvalidField, "observation", "from 0 to 47"
    ),
    "feedback on an unknown decision": refusal(
        agent.RecordFeedbackRequest(
            agent="agents/pole", decision_id="nope", feedback=agent.Feedback(reward=1)
        ),
        NotFound,
        "'nope'",
    ),
    "a reward of NaN": refusal(
        agent.RecordFeedbackRequest(
            agent="agents/pole", decision_id="nope", feedback=agent.Feedback(reward=math.nan)
        ),
        InvalidField,
        "feedback.reward",
        "finite",
    ),
    "learning of an unknown agent": refusal(
        learn("agents/nope", simulation=agent.Simulation(steps=1)), NotFound, "'agents/nope'"
    ),
    "simulation without an environment": refusal(
        learn("agents/bandit", simulation=agent.Simulation(steps=1)),
        InvalidField,
        "spec.simulation",
        "`logged_feedback`",
    ),
    "no steps": refusal(
        learn("agents/pole", simulation=agent.Simulation()), InvalidField, "simulation.steps", "1"
    ),
    "nothing to learn from": refusal(learn("agents/pole"), InvalidField, "spec.source", "required"),
    "a policy that no run has made": refusal(
        agent.UpdateAgentRequest(
            agent=agent.Agent(
                name="agents/walker",
                environment="CliffWalking-v1",
                q_learning=agent.QLearning(),
                policy="models/double/versions/1",
            )
        ),
        InvalidField,
        "agent.policy",
        "a learning run of this agent",
    ),
    "another environment": refusal(
        agent.UpdateAgentRequest(
            agent=agent.Agent(name="agents/pole", environment="CliffWalking-v1", dqn=agent.Dqn())
        ),
        InvalidField,
        "agent.environment",
        "stays as it was made",
    ),
    "a page token of no list of agents": refusal(
        agent.ListAgentsRequest(page_token="a" * 9999), InvalidField, "page_token", PAGE_RULE
    ),
    "a page token of no list of decisions": refusal(
        agent.ListDecisionsRequest(parent="agents/pole", page_token="-1"),
        InvalidField,
        "page_token",
        PAGE_RULE,
    ),
}
