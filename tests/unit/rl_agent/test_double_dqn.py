"""The compiled gradient steps of a DQN."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_rl_agent.agent import UPDATES_PER_CALL
from lepton_rl_agent.worker.network import Layers, action_values, fold_duel, initial

pytestmark = pytest.mark.timeout(300)  # TensorFlow takes its time to load on a busy machine.

BATCH = 8


def rows(rng: np.random.Generator, *, reward: float, discount: float) -> NDArray[np.float32]:
    """Transitions between random observations of two numbers, with two actions."""
    found = rng.normal(size=(UPDATES_PER_CALL * BATCH, 7)).astype(np.float32)
    found[:, 4] = rng.integers(2, size=len(found))
    found[:, 5], found[:, 6] = reward, discount
    return found


def first_layers() -> Layers:
    """A network for two numbers and two actions."""
    return initial(np.random.default_rng(1), [2, 16, 1 + 2])


def test_values_without_a_future_become_the_reward() -> None:
    from lepton_rl_agent.worker.double_dqn import DoubleDqn

    rng, network = np.random.default_rng(0), DoubleDqn(first_layers(), batch_size=BATCH)
    losses = [network.learn(rows(rng, reward=3.0, discount=0.0), learning_rate=0.01) for _ in range(6)]
    assert losses[-1] < 0.01 * losses[0]
    values = action_values(fold_duel(network.layers()), rng.normal(size=(50, 2)).astype(np.float32))
    assert values == pytest.approx(3.0, abs=0.3)


def test_the_future_is_what_the_target_says_of_the_action_that_the_network_picks() -> None:
    from lepton_rl_agent.worker.double_dqn import DoubleDqn

    # With a step size of 0 the network and its target stay what they were: the loss tells the goal.
    layers = first_layers()
    network = DoubleDqn(layers, batch_size=BATCH)
    batches = rows(np.random.default_rng(0), reward=0.5, discount=0.9)
    values, later = (action_values(fold_duel(layers), batches[:, part]) for part in (slice(2), slice(2, 4)))
    taken = values[np.arange(len(values)), batches[:, 4].astype(int)]
    error = np.abs(taken - (0.5 + 0.9 * later.max(axis=1)))
    huber = np.where(error < 1, error**2 / 2, error - 0.5).mean()
    assert network.learn(batches, learning_rate=0.0) == pytest.approx(huber, rel=1e-4)


def test_the_first_steps_of_adam_are_as_long_as_the_step_size() -> None:
    from lepton_rl_agent.worker.double_dqn import DoubleDqn

    layers = first_layers()
    network = DoubleDqn(layers, batch_size=BATCH)
    network.learn(rows(np.random.default_rng(0), reward=100.0, discount=0.0), learning_rate=1e-4)
    # Far from the goal all gradients point one way, so the bias of the output moves by all steps.
    moved = (network.layers()[-1] - layers[-1])[0]
    assert moved == pytest.approx(UPDATES_PER_CALL * 1e-4, rel=0.05)


def test_after_a_restore_it_learns_the_same() -> None:
    from lepton_rl_agent.worker.double_dqn import DoubleDqn

    networks = [DoubleDqn(first_layers(), batch_size=BATCH) for _ in range(2)]
    batches = [rows(np.random.default_rng(seed), reward=1.0, discount=0.9) for seed in range(2)]
    networks[0].learn(batches[0], learning_rate=0.01)
    networks[1].restore(networks[0].state())
    for network in networks:
        network.learn(batches[1], learning_rate=0.01)
    for one, other in zip(*(network.layers() for network in networks), strict=True):
        assert np.array_equal(one, other)
