"""How good a policy is: episodes that it plays without exploring."""

import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent import environments
from lepton_rl_agent.worker.policy import Policy

MAX_PARALLEL = 32
"""Episodes that are played side by side."""


def play_greedily(environment: str, policy: Policy, *, episodes: int, seed: int) -> NDArray[np.float64]:
    """Play episodes, always taking the action of the highest value.

    Args:
        environment: id of the environment.
        policy: what to play by.
        episodes: how many to play.
        seed: of the environments; equal seeds give equal episodes.

    Returns:
        The sum of the rewards of each episode, `[episodes]`.
    """
    seeds = np.random.default_rng(seed)
    counts = [min(MAX_PARALLEL, episodes - played) for played in range(0, episodes, MAX_PARALLEL)]
    return np.concatenate([_play(environment, policy, count, int(seeds.integers(2**31))) for count in counts])


def _play(environment: str, policy: Policy, count: int, seed: int) -> NDArray[np.float64]:
    worlds = environments.make_several(environment, count)
    try:
        observations, _ = worlds.reset(seed=seed)
        returns = np.zeros(count)
        playing = np.ones(count, dtype=bool)
        while playing.any():
            actions = policy.values(observations).argmax(axis=1)
            observations, rewards, terminated, truncated, _ = worlds.step(actions)
            # An environment that is done starts anew by itself; only its first episode counts.
            returns += rewards * playing
            playing &= ~(terminated | truncated)
        return returns
    finally:
        worlds.close()
