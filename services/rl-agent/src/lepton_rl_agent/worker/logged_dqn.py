"""DQN from a log, without an environment to try anything in.

The same gradient steps as in an environment, over transitions that an earlier policy has made. Rewards
are never summed over several steps: the later actions of the log are not those that the learned policy
would take.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent.agent import UPDATES_PER_CALL, AgentConfig, Dqn
from lepton_rl_agent.transitions import Transitions
from lepton_rl_agent.worker.dqn import learning_rate_at, new_network
from lepton_rl_agent.worker.network import fold_duel
from lepton_rl_agent.worker.policy import NetworkPolicy
from lepton_rl_agent.worker.replay import ReplayBuffer


def whole_calls(steps: int) -> int:
    """Return the next number of gradient steps that is whole learning calls, at least one."""
    return max(1, -(-steps // UPDATES_PER_CALL)) * UPDATES_PER_CALL


def gradient_steps(transitions: int, algorithm: Dqn, *, passes: int) -> int:
    """Return how many gradient steps see each transition `passes` times on average, in whole calls."""
    return whole_calls(-(-transitions * passes // algorithm.batch_size))


class LoggedDqnLearner:
    """Learns a network from transitions; a step is a gradient step.

    Args:
        config: the agent; it sees a `Box` space.
        algorithm: how it learns; its `n_step` and `buffer_size` play no part.
        transitions: the log.
        steps: of the whole run, a multiple of `UPDATES_PER_CALL`.
        seed: of the first weights.
    """

    def __init__(
        self, config: AgentConfig, algorithm: Dqn, *, transitions: Transitions, steps: int, seed: int
    ) -> None:
        self._algorithm = algorithm
        self._steps = steps
        self._network = new_network(config.spaces, algorithm, seed=seed)
        self._log = _remember(transitions, discount=config.discount)

    def learn(self, steps: range, *, seed: int) -> list[float]:
        """Make these gradient steps; no episodes are played."""
        rng = np.random.default_rng(seed)
        for step in range(steps.start, steps.stop, UPDATES_PER_CALL):
            rows = self._log.sample(rng, self._network.rows_per_call)
            rate = learning_rate_at(step, self._steps, first=self._algorithm.learning_rate)
            self._network.learn(rows, learning_rate=rate)
        return []

    def policy(self) -> NetworkPolicy:
        """Return what has been learned so far."""
        return NetworkPolicy(fold_duel(self._network.layers()))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that a run needs to go on from here, beside the log."""
        return self._network.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned."""
        self._network.restore(state)


def _remember(log: Transitions, *, discount: float) -> ReplayBuffer:
    observations = log.observations.reshape(len(log), -1)
    later = log.next_observations.reshape(len(log), -1)
    buffer = ReplayBuffer(len(log), observations.shape[1], discount=discount)
    for n in range(len(log)):
        buffer.add(
            observations[n],
            int(log.actions[n]),
            reward=float(log.rewards[n]),
            next_observation=later[n],
            terminated=bool(log.terminal[n]),
            ended=True,
        )
    return buffer
