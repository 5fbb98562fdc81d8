"""Learning a table by acting."""

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_rl_agent import environments
from lepton_rl_agent.agent import QLearning, settle
from lepton_rl_agent.exploration import Softmax
from lepton_rl_agent.spaces import Discrete, Spaces
from lepton_rl_agent.worker.evaluation import play_greedily
from lepton_rl_agent.worker.policy import TablePolicy
from lepton_rl_agent.worker.q_learning import QLearner, Schedule, update

from .conftest import EndlessWorld, IdentityWorld, agent_in, optimal_values, policy_values


def learned(environment: str, algorithm: QLearning, *, steps: int, temperature: float = 1.0) -> TablePolicy:
    """What a run in one of Gymnasium's environments learns."""
    config = agent_in(environment, algorithm, exploration=Softmax(temperature))
    learner = QLearner(config, algorithm, world=environments.make(environment), steps=steps)
    learner.learn(range(steps), seed=0)
    return learner.policy()


@pytest.mark.parametrize(
    ("terminated", "value"),
    [
        pytest.param(False, 1.0 + 0.5 * (2.0 + 0.9 * 4.0 - 1.0), id="the best of what comes after counts"),
        pytest.param(True, 1.0 + 0.5 * (2.0 - 1.0), id="after the end comes nothing"),
    ],
)
def test_an_update_moves_a_value_towards_what_was_seen(terminated: bool, value: float) -> None:
    table = np.array([[1.0, 0.0], [3.0, 4.0]])
    update(table, (0, 0, 2.0, 1, terminated), learning_rate=0.5, discount=0.9)
    assert table.tolist() == [[value, 0.0], [3.0, 4.0]]


def test_step_size_and_temperature_fall_over_a_run() -> None:
    schedule = Schedule(initial_rate=0.1, steps=1000)
    assert [schedule.learning_rate(step) for step in (0, 1000)] == pytest.approx([0.1, 0.005])
    assert [schedule.cooling(step) for step in (0, 400, 800, 1000)] == pytest.approx([1, 0.1, 0.01, 0.01])


def test_the_number_that_is_seen_becomes_the_action() -> None:
    algorithm = QLearning(learning_rate=0.5)
    config = settle("agents/a", algorithm, spaces=Spaces(Discrete(6), 6), discount=0.0)
    learner = QLearner(config, algorithm, world=IdentityWorld(6), steps=4000)
    rewards = learner.learn(range(4000), seed=1)
    assert learner.policy().values(np.arange(6)).argmax(axis=1).tolist() == list(range(6))
    assert rewards[-1] == 10


@pytest.mark.parametrize("limit", [1, 7])
def test_a_time_limit_does_not_make_the_future_worth_nothing(limit: int) -> None:
    # A reward of 1 for ever is worth 1 / (1 - gamma), wherever episodes are cut.
    algorithm = QLearning(learning_rate=1.0)
    config = settle("agents/a", algorithm, spaces=Spaces(Discrete(1), 1), discount=0.5)
    learner = QLearner(config, algorithm, world=EndlessWorld(limit), steps=200)
    learner.learn(range(200), seed=0)
    assert learner.policy().values(np.array([0]))[0, 0] == pytest.approx(2.0, rel=1e-3)


def test_on_slippery_ice_the_learned_policy_is_worth_what_the_best_one_is() -> None:
    policy = learned("FrozenLake-v1", QLearning(initial_value=1.0), steps=60_000)
    world: gymnasium.Env[int, int] = gymnasium.make("FrozenLake-v1")
    best = optimal_values(world, discount=0.99)
    actions: NDArray[np.int64] = policy.values(np.arange(16)).argmax(axis=1)
    start = 0
    assert policy_values(world, actions, discount=0.99)[start] == pytest.approx(best[start], rel=0.02)


def test_the_values_on_the_way_are_those_of_value_iteration() -> None:
    policy = learned("CliffWalking-v1", QLearning(learning_rate=1.0), steps=6000)
    best = optimal_values(gymnasium.make("CliffWalking-v1"), discount=0.99)
    on_the_way = [36, *range(24, 36)]
    assert policy.values(np.array(on_the_way)).max(axis=1) == pytest.approx(best[on_the_way], abs=1e-3)


def test_along_the_cliff_thirteen_steps_are_enough() -> None:
    policy = learned("CliffWalking-v1", QLearning(learning_rate=1.0), steps=6000)
    assert play_greedily("CliffWalking-v1", policy, episodes=3, seed=0).tolist() == [-13.0] * 3


def test_equal_seeds_give_equal_tables() -> None:
    algorithm = QLearning(initial_value=1.0)
    first, second = (learned("FrozenLake-v1", algorithm, steps=2000) for _ in range(2))
    assert np.array_equal(first.arrays[0], second.arrays[0])


def test_many_actions_do_not_need_noise_for_all_steps_at_once() -> None:
    algorithm = QLearning()
    config = settle("agents/a", algorithm, spaces=Spaces(Discrete(2), 70_000))
    world = IdentityWorld(2)
    QLearner(config, algorithm, world=world, steps=20).learn(range(20), seed=0)
