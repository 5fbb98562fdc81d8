"""Messages of the contract, from and to what the service thinks in."""

from lepton.agent.v1 import agent_pb2 as pb
from lepton_rl_agent.agent import AgentConfig, Algorithm, Dqn, QLearning, settle
from lepton_rl_agent.decisions import Decision, Feedback
from lepton_rl_agent.exploration import EpsilonGreedy, Exploration, Softmax
from lepton_rl_agent.spaces import Box, Discrete, Observation, ObservationSpace, Spaces, check_observation


def settle_agent(agent: pb.Agent) -> AgentConfig:
    """Return what an agent is, and write its defaults into the message, so that they show.

    Raises:
        InvalidField: its parts do not go together.
    """
    config = settle(
        agent.name,
        _algorithm(agent),
        environment=agent.environment,
        spaces=_spaces(agent.spaces) if agent.HasField("spaces") else None,
        discount=agent.discount if agent.HasField("discount") else None,
        exploration=_exploration(agent.exploration),
        model=agent.model,
    )
    agent.spaces.CopyFrom(encode_spaces(config.spaces))
    _fill_in_algorithm(agent, config.algorithm)
    agent.discount = config.discount
    if isinstance(config.exploration, Softmax):
        agent.exploration.softmax.temperature = config.exploration.temperature
    agent.model = config.model
    return config


def config_of(agent: pb.Agent) -> AgentConfig:
    """Return what a stored agent is; its defaults are filled in."""
    exploration = _exploration(agent.exploration) or Softmax(1.0)
    return AgentConfig(
        name=agent.name,
        environment=agent.environment,
        spaces=_spaces(agent.spaces),
        algorithm=_algorithm(agent),
        discount=agent.discount,
        exploration=exploration,
        model=agent.model,
    )


def encode_spaces(spaces: Spaces) -> pb.Spaces:
    """Return the message of what an agent sees and does."""
    seen = spaces.observation
    if isinstance(seen, Discrete):
        return pb.Spaces(discrete=pb.DiscreteSpace(size=seen.size), actions=spaces.actions)
    return pb.Spaces(box=pb.BoxSpace(shape=seen.shape), actions=spaces.actions)


def observation_of(
    message: pb.Observation, space: ObservationSpace, *, field: str = "observation"
) -> Observation:
    """Return an observation, held against what the agent sees.

    Raises:
        InvalidField: the agent does not see such things.
    """
    value = message.discrete if message.HasField("discrete") else message.box.values
    return check_observation(value, space, field=field)


def check_feedback(feedback: pb.Feedback, space: ObservationSpace) -> None:
    """Hold the observation of a feedback, if there is one, against what the agent sees.

    Raises:
        InvalidField: the agent does not see such things.
    """
    if feedback.HasField("next_observation"):
        observation_of(feedback.next_observation, space, field="feedback.next_observation")


def decision_of(message: pb.Decision, space: ObservationSpace) -> Decision:
    """Return a stored decision as learning needs it."""
    feedback = None
    if message.HasField("feedback"):
        told = message.feedback
        later = observation_of(told.next_observation, space) if told.HasField("next_observation") else None
        feedback = Feedback(
            reward=told.reward, terminated=told.terminated, truncated=told.truncated, next_observation=later
        )
    return Decision(
        episode=message.episode,
        observation=observation_of(message.observation, space),
        action=message.action,
        feedback=feedback,
    )


def _spaces(message: pb.Spaces) -> Spaces | None:
    if message.HasField("discrete"):
        return Spaces(Discrete(message.discrete.size), message.actions)
    return Spaces(Box(tuple(message.box.shape)), message.actions)
