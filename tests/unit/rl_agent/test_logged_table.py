"""Learning a table from a log."""

import gymnasium
import numpy as np
import pytest

from lepton_rl_agent.agent import QLearning, settle
from lepton_rl_agent.spaces import Discrete, Spaces
from lepton_rl_agent.transitions import Transitions
from lepton_rl_agent.worker.logged_table import LoggedTableLearner
from lepton_rl_agent.worker.policy import TablePolicy

from .conftest import optimal_values, policy_values


def learned(
    log: Transitions, spaces: Spaces, *, passes: int, discount: float = 0.99, rate: float = 0.1
) -> TablePolicy:
    """What so many passes over a log teach."""
    algorithm = QLearning(learning_rate=rate, initial_value=100.0)
    config = settle("agents/a", algorithm, spaces=spaces, discount=discount)
    learner = LoggedTableLearner(config, algorithm, transitions=log, passes=passes)
    learner.learn(range(passes), seed=0)
    return learner.policy()


def steps(*told: tuple[int, int, float, int, bool]) -> Transitions:
    """Transitions of state, action, reward, next state, terminal."""
    columns = [np.array(column) for column in zip(*told, strict=True)]
    return Transitions(columns[0], columns[1], columns[2].astype(float), columns[3], columns[4].astype(bool))


def everything_equally_often(environment: str, times: int) -> Transitions:
    """What somebody saw who tried every action in every state so many times."""
    chances = gymnasium.make(environment).unwrapped.P  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    told = []
    pairs = [(state, action) for state, outcomes in chances.items() for action in outcomes]
    for state, action in pairs * times:
        outcomes = chances[state][action]
        _, later, reward, over = outcomes[rng.choice(len(outcomes), p=[outcome[0] for outcome in outcomes])]
        told.append((state, action, float(reward), later, over))
    return steps(*told)


def test_from_a_log_of_everything_comes_the_best_policy() -> None:
    log = everything_equally_often("FrozenLake-v1", 150)
    policy = learned(log, Spaces(Discrete(16), 4), passes=10)
    world: gymnasium.Env[int, int] = gymnasium.make("FrozenLake-v1")
    actions = policy.values(np.arange(16)).argmax(axis=1)
    best = optimal_values(world, discount=0.99)[0]
    assert policy_values(world, actions, discount=0.99)[0] == pytest.approx(best, rel=0.03)


def test_values_are_handed_back_along_a_chain() -> None:
    log = steps((0, 0, 0.0, 1, False), (1, 0, 0.0, 2, False), (2, 0, 8.0, 2, True))
    policy = learned(log, Spaces(Discrete(3), 1), passes=50, discount=0.5, rate=1.0)
    assert policy.arrays[0][:, 0] == pytest.approx([2, 4, 8], abs=1e-3)


def test_what_was_never_tried_is_never_the_best() -> None:
    log = steps((0, 1, -5.0, 0, True), (1, 2, 1.0, 1, True))
    policy = learned(log, Spaces(Discrete(2), 3), passes=50, rate=1.0)
    assert policy.values(np.array([0, 1])).argmax(axis=1).tolist() == [1, 2]
    # -5 at every step for ever: nothing can be worth less.
    assert policy.arrays[0][0, 0] == pytest.approx(-500)


def test_a_state_that_was_never_left_is_worth_nothing_either_way() -> None:
    log = steps((0, 0, 1.0, 1, False))
    policy = learned(log, Spaces(Discrete(2), 2), passes=50, rate=1.0)
    assert policy.arrays[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_it_goes_on_from_its_state() -> None:
    log = everything_equally_often("FrozenLake-v1", 5)
    algorithm = QLearning()
    config = settle("agents/a", algorithm, spaces=Spaces(Discrete(16), 4))
    learners = [LoggedTableLearner(config, algorithm, transitions=log, passes=4) for _ in range(2)]
    learners[0].learn(range(2), seed=0)
    learners[1].restore(learners[0].state())
    for learner in learners:
        learner.learn(range(2, 4), seed=1)
    first, second = (learner.policy().arrays[0] for learner in learners)
    assert np.array_equal(first, second)
