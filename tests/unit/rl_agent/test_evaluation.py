"""Playing to see how good a policy is."""

import numpy as np

from lepton_rl_agent.worker.evaluation import MAX_PARALLEL, play_greedily
from lepton_rl_agent.worker.policy import NetworkPolicy, TablePolicy

RIGHT_ALONG_THE_CLIFF = 1


def always(action: int, *, states: int, actions: int) -> TablePolicy:
    """A policy that always does the same."""
    table = np.zeros((states, actions), dtype=np.float32)
    table[:, action] = 1
    return TablePolicy((table,))


def test_the_sum_of_the_rewards_of_each_episode_comes_out() -> None:
    # A step costs 1 and a fall 100, back to the start; the limit ends it.
    policy = always(RIGHT_ALONG_THE_CLIFF, states=48, actions=4)
    assert play_greedily("CliffWalking-v1", policy, episodes=2, seed=0).tolist() == [-100_000.0] * 2


def test_only_the_first_episode_of_each_environment_counts() -> None:
    layers = (np.zeros((4, 2), dtype=np.float32), np.array([1.0, 0.0], dtype=np.float32))
    returns = play_greedily("CartPole-v1", NetworkPolicy(layers), episodes=20, seed=3)
    # Pushing to one side only, a pole falls within 8 to 10 steps.
    assert returns.min() >= 8
    assert returns.max() <= 11


def test_any_number_of_episodes_is_played_and_equal_seeds_give_equal_ones() -> None:
    policy = always(1, states=16, actions=4)
    first, second = (
        play_greedily("FrozenLake-v1", policy, episodes=MAX_PARALLEL + 5, seed=1) for _ in range(2)
    )
    assert first.shape == (MAX_PARALLEL + 5,)
    assert np.array_equal(first, second)
