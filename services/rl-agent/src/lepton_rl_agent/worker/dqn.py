"""Deep Q-learning: double, duelling, n-step.

Mnih et al., "Human-level control through deep reinforcement learning", 2015; van Hasselt et al., 2016;
Wang et al., 2016; n-step returns as in Hessel et al., "Rainbow", 2018.

Acting and learning take turns in blocks: some hundred steps with a fixed network, then many gradient
steps in one call, whose target is the network as it was before the call.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent.agent import AgentConfig, Dqn
from lepton_rl_agent.spaces import Box, Spaces
from lepton_rl_agent.worker import network
from lepton_rl_agent.worker.double_dqn import DoubleDqn
from lepton_rl_agent.worker.policy import NetworkPolicy
from lepton_rl_agent.worker.replay import ReplayBuffer

BLOCK_STEPS = 256
"""Environment steps between two calls that learn."""

WARM_UP_STEPS = 1000
"""Steps before the first gradient step, or a tenth of a run where that is less."""

EPSILON_FALLS_TO = 0.04
"""Share of random actions after the exploring part of a run; before, it falls in a line from 1."""

EXPLORING_SHARE = 0.16
"""Share of a run over which epsilon falls."""

RATE_FALLS_TO = 0.01
"""Share of the learning rate that is left at the end of a run."""


def new_network(spaces: Spaces, algorithm: Dqn, *, seed: int) -> DoubleDqn:
    """Return a network for these spaces that has not learned anything."""
    if not isinstance(spaces.observation, Box):
        raise TypeError("a network takes real numbers")
    widths = (spaces.observation.size, *algorithm.hidden_units, 1 + spaces.actions)
    layers = network.initial(np.random.default_rng(seed), widths)
    return DoubleDqn(layers, batch_size=algorithm.batch_size)


def learning_rate_at(step: int, steps: int, *, first: float) -> float:
    """Return the step size of Adam at a step of a run: it falls in a line to a hundredth."""
    return first * (1.0 - (1.0 - RATE_FALLS_TO) * step / steps)


class DqnLearner:
    """Learns a network by acting epsilon-greedily with what it has learned so far.

    Args:
        config: the agent; it sees a `Box` space.
        algorithm: how it learns.
        world: the environment it learns in.
        steps: environment steps of the whole run.
        seed: of the first weights.
    """

    def __init__(
        self,
        config: AgentConfig,
        algorithm: Dqn,
        *,
        world: gymnasium.Env[Any, Any],
        steps: int,
        seed: int,
    ) -> None:
        self._world = world
        self._actions = config.spaces.actions
        self._steps = steps
        self._first_rate = algorithm.learning_rate
        self._warm_up = min(WARM_UP_STEPS, steps // 10)
        self._network = new_network(config.spaces, algorithm, seed=seed)
        self._buffer = ReplayBuffer(
            algorithm.buffer_size,
            self._network.observation_size,
            discount=config.discount,
            n_step=algorithm.n_step,
        )
        self._layers = network.fold_duel(self._network.layers())

    def learn(self, steps: range, *, seed: int) -> list[float]:
        """Act and learn, from a new episode on.

        Args:
            steps: which steps of the run these are.
            seed: of the environment, of the exploration and of the batches.

        Returns:
            The sum of the rewards of each episode that came to its end.
        """
        rng = np.random.default_rng(seed)
        episodes = _Episodes(self._world, self._buffer, seed=seed)
        for start in range(steps.start, steps.stop, BLOCK_STEPS):
            block = range(start, min(start + BLOCK_STEPS, steps.stop))
            explore = rng.random(len(block)) < [self._epsilon_at(step) for step in block]
            choices = np.where(explore, rng.integers(self._actions, size=len(block)), -1)
            for choice in choices.tolist():
                episodes.step(choice if choice >= 0 else self._best(episodes.observation))
            if block.stop >= self._warm_up and len(self._buffer):
                rows = self._buffer.sample(rng, self._network.rows_per_call)
                rate = learning_rate_at(block.stop, self._steps, first=self._first_rate)
                self._network.learn(rows, learning_rate=rate)
                self._layers = network.fold_duel(self._network.layers())
        episodes.cut()
        return episodes.returns

    def policy(self) -> NetworkPolicy:
        """Return what has been learned so far."""
        return NetworkPolicy(self._layers)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that a run needs to go on from here, what is remembered included."""
        return self._network.state() | self._buffer.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned."""
        self._network.restore(state)
        self._buffer.restore(state)
        self._layers = network.fold_duel(self._network.layers())

    def _epsilon_at(self, step: int) -> float:
        return max(EPSILON_FALLS_TO, 1.0 - (1.0 - EPSILON_FALLS_TO) * step / (EXPLORING_SHARE * self._steps))

    def _best(self, observation: NDArray[np.float32]) -> int:
        return int(network.action_values(self._layers, observation).argmax())


class _Episodes:
    """An environment that is acted in, episode after episode, every step remembered."""

    def __init__(self, world: gymnasium.Env[Any, Any], buffer: ReplayBuffer, *, seed: int) -> None:
        self._world, self._buffer = world, buffer
        self._total = 0.0
        self.returns: list[float] = []
        self.observation = _flat(world.reset(seed=seed)[0])

    def step(self, action: int) -> None:
        seen, reward, terminated, truncated, _ = self._world.step(action)
        later = _flat(seen)
        self._buffer.add(
            self.observation,
            action,
            reward=float(reward),
            next_observation=later,
            terminated=terminated,
            ended=terminated or truncated,
        )
        self._total += float(reward)
        self.observation = later
        if terminated or truncated:
            self.returns.append(self._total)
            self._total = 0.0
            self.observation = _flat(self._world.reset()[0])

    def cut(self) -> None:
        self._buffer.cut(self.observation)


def _flat(observation: Any) -> NDArray[np.float32]:
    return np.asarray(observation, dtype=np.float32).reshape(-1)
