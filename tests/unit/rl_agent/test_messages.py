"""Messages of the contract, from and to what the service thinks in."""

import numpy as np
import pytest

from lepton.agent.v1 import agent_pb2 as pb
from lepton_common.errors import InvalidField
from lepton_rl_agent.adapters.messages import check_feedback, config_of, decision_of, settle_agent
from lepton_rl_agent.agent import Dqn, QLearning
from lepton_rl_agent.decisions import Decision, Feedback
from lepton_rl_agent.exploration import EpsilonGreedy
from lepton_rl_agent.spaces import Box, Discrete

CARTPOLE = pb.Agent(name="agents/pole", environment="CartPole-v1", dqn=pb.Dqn())
SHOP = pb.Agent(
    name="agents/shop",
    spaces=pb.Spaces(discrete=pb.DiscreteSpace(size=9), actions=3),
    q_learning=pb.QLearning(learning_rate=0.5, initial_value=2.0),
    discount=0.0,
    exploration=pb.Exploration(epsilon_greedy=pb.EpsilonGreedy(epsilon=0.1)),
    model="models/offers",
)


def copy(agent: pb.Agent) -> pb.Agent:
    """A copy, to be changed."""
    made = pb.Agent()
    made.CopyFrom(agent)
    return made


def test_the_defaults_of_an_agent_show() -> None:
    agent = copy(CARTPOLE)
    settle_agent(agent)
    assert agent == pb.Agent(
        name="agents/pole",
        environment="CartPole-v1",
        spaces=pb.Spaces(box=pb.BoxSpace(shape=[4]), actions=2),
        dqn=pb.Dqn(learning_rate=0.0023, hidden_units=[64, 64], batch_size=64, buffer_size=100_000, n_step=3),
        discount=0.99,
        exploration=pb.Exploration(softmax=pb.Softmax(temperature=1.0)),
        model="models/pole-policy",
    )


def test_what_was_given_stays() -> None:
    agent = copy(SHOP)
    config = settle_agent(agent)
    assert agent == SHOP
    assert config.algorithm == QLearning(learning_rate=0.5, initial_value=2.0)
    assert config.discount == 0.0
    assert config.exploration == EpsilonGreedy(0.1)


@pytest.mark.parametrize("agent", [CARTPOLE, SHOP], ids=lambda agent: agent.name)
def test_a_stored_agent_is_what_it_was_when_it_was_made(agent: pb.Agent) -> None:
    made = copy(agent)
    assert settle_agent(made) == config_of(made)


def test_an_agent_learns_as_its_message_says() -> None:
    told = pb.Dqn(learning_rate=0.1, hidden_units=[8], batch_size=4, buffer_size=100, n_step=1)
    agent = pb.Agent(name="agents/a", environment="CartPole-v1", dqn=told)
    assert settle_agent(agent).algorithm == Dqn(0.1, (8,), 4, 100, 1)


def test_a_decision_comes_out_as_learning_needs_it() -> None:
    message = pb.Decision(
        episode="e",
        observation=pb.Observation(box=pb.Vector(values=[1, 2])),
        action=1,
        feedback=pb.Feedback(
            reward=0.5, truncated=True, next_observation=pb.Observation(box=pb.Vector(values=[3, 4]))
        ),
    )
    found = decision_of(message, Box((2,)))
    assert np.array_equal(found.observation, [1, 2])
    assert found.feedback is not None
    assert found.feedback.next_observation is not None
    assert np.array_equal(found.feedback.next_observation, [3, 4])
    assert (found.feedback.reward, found.feedback.truncated) == (0.5, True)


def test_what_was_not_told_is_not_there() -> None:
    message = pb.Decision(observation=pb.Observation(discrete=0), action=2)
    assert decision_of(message, Discrete(3)) == Decision(observation=0, action=2)
    message.feedback.reward = 1.0
    assert decision_of(message, Discrete(3)).feedback == Feedback(reward=1.0)


def test_a_feedback_is_held_against_what_the_agent_sees() -> None:
    check_feedback(pb.Feedback(reward=1), Discrete(3))
    with pytest.raises(InvalidField) as refused:
        check_feedback(pb.Feedback(next_observation=pb.Observation(discrete=3)), Discrete(3))
    assert refused.value.violations[0].field == "feedback.next_observation"
