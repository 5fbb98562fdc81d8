"""The network of a DQN, in numpy."""

import numpy as np
import pytest

from lepton_rl_agent.worker.network import action_values, fold_duel, initial


def test_it_starts_small_and_balanced() -> None:
    layers = initial(np.random.default_rng(0), [100, 50, 3])
    assert [layer.shape for layer in layers] == [(100, 50), (50,), (50, 3), (3,)]
    assert all(layer.dtype == np.float32 for layer in layers)
    assert np.abs(layers[0]).max() <= np.sqrt(6 / 150)
    assert layers[0].std() == pytest.approx(np.sqrt(2 / 150), rel=0.05)
    assert not layers[1].any()


def test_hidden_layers_cut_off_below_zero() -> None:
    identity, nothing = np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32)
    layers = (identity, np.array([0, -1], dtype=np.float32), identity, nothing)
    assert action_values(layers, np.array([[2, 3], [-2, 0.5]], dtype=np.float32)).tolist() == [[2, 2], [0, 0]]


def test_one_observation_gives_the_same_as_in_a_batch() -> None:
    rng = np.random.default_rng(0)
    layers = initial(rng, [4, 8, 3])
    batch = rng.normal(size=(5, 4)).astype(np.float32)
    alone = [action_values(layers, observation) for observation in batch]
    assert action_values(layers, batch) == pytest.approx(np.array(alone), abs=1e-6)


def test_the_duel_is_value_plus_advantage_less_the_mean_advantage() -> None:
    rng = np.random.default_rng(0)
    layers = initial(rng, [4, 8, 1 + 3])
    batch = rng.normal(size=(5, 4)).astype(np.float32)
    head = action_values(layers, batch)
    value, advantages = head[:, :1], head[:, 1:]
    assert action_values(fold_duel(layers), batch) == pytest.approx(
        value + advantages - advantages.mean(axis=1, keepdims=True), abs=1e-6
    )
