"""Messages of the contract, from and to what the service thinks in."""

from dataclasses import replace

from lepton.agent.v1 import agent_pb2 as pb
from lepton_rl_agent.agent import AgentConfig, Algorithm, Dqn, QLearning, settle
from lepton_rl_agent.decisions import Decision, Feedback
from lepton_rl_agent.exploration import EpsilonGreedy, Exploration, Softmax
from lepton_rl_agent.spaces import Box, Discrete, Observation, ObservationSpace, Spaces, check_observation


def settle_agent(agent: pb.Agent) -> AgentConfig:
    """Return what a new agent is, and write its defaults into the message, so that they show.

    Raises:
        InvalidField: its parts do not go together.
    """
    config = _settle(agent, environment=agent.environment)
    agent.spaces.CopyFrom(encode_spaces(config.spaces))
    _write_algorithm(agent, config.algorithm)
    agent.discount = config.discount
    _write_exploration(agent.exploration, config.exploration)
    agent.model = config.model
    return config


def config_of(agent: pb.Agent) -> AgentConfig:
    """Return what a stored agent is; its environment is not asked again."""
    return replace(_settle(agent, environment=""), environment=agent.environment)


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


def _settle(agent: pb.Agent, *, environment: str) -> AgentConfig:
    return settle(
        agent.name,
        _algorithm(agent),
        environment=environment,
        spaces=_spaces(agent.spaces),
        discount=agent.discount if agent.HasField("discount") else None,
        exploration=_exploration(agent.exploration),
        model=agent.model,
    )


def _spaces(message: pb.Spaces) -> Spaces | None:
    match message.WhichOneof("observation"):
        case "discrete":
            return Spaces(Discrete(message.discrete.size), message.actions)
        case "box":
            return Spaces(Box(tuple(message.box.shape)), message.actions)
        case _:
            return None


def _algorithm(agent: pb.Agent) -> Algorithm:
    if agent.HasField("dqn"):
        told, default = agent.dqn, Dqn()
        return Dqn(
            learning_rate=told.learning_rate or default.learning_rate,
            hidden_units=tuple(told.hidden_units) or default.hidden_units,
            batch_size=told.batch_size or default.batch_size,
            buffer_size=told.buffer_size or default.buffer_size,
            n_step=told.n_step or default.n_step,
        )
    table = agent.q_learning
    return QLearning(
        learning_rate=table.learning_rate or QLearning().learning_rate, initial_value=table.initial_value
    )


def _write_algorithm(agent: pb.Agent, algorithm: Algorithm) -> None:
    if isinstance(algorithm, QLearning):
        agent.q_learning.learning_rate = algorithm.learning_rate
        agent.q_learning.initial_value = algorithm.initial_value
    else:
        agent.dqn.CopyFrom(
            pb.Dqn(
                learning_rate=algorithm.learning_rate,
                hidden_units=algorithm.hidden_units,
                batch_size=algorithm.batch_size,
                buffer_size=algorithm.buffer_size,
                n_step=algorithm.n_step,
            )
        )


def _exploration(message: pb.Exploration) -> Exploration | None:
    match message.WhichOneof("rule"):
        case "softmax":
            return Softmax(message.softmax.temperature)
        case "epsilon_greedy":
            return EpsilonGreedy(message.epsilon_greedy.epsilon)
        case _:
            return None


def _write_exploration(message: pb.Exploration, rule: Exploration) -> None:
    if isinstance(rule, Softmax):
        message.softmax.temperature = rule.temperature
    else:
        message.epsilon_greedy.epsilon = rule.epsilon
