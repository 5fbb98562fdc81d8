"""Q-learning from a log, without an environment to try anything in.

The same update as in an environment, over transitions that an earlier policy has made. But there is no
optimism: where an action was never tried, an environment would soon tell what it is worth, and a log
never does. So only pairs that the log holds count as what may come next (batch-constrained Q-learning,
Fujimoto et al., 2019), and the others are given the worst value that the rewards can add up to.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent.agent import AgentConfig, QLearning
from lepton_rl_agent.transitions import Transitions
from lepton_rl_agent.worker.policy import TablePolicy
from lepton_rl_agent.worker.q_learning import Schedule, new_table, update


class LoggedTableLearner:
    """Learns a table from transitions; a step is one pass over them.

    Args:
        config: the agent; it sees a `Discrete` space.
        algorithm: how it learns; the initial value plays no part.
        transitions: the log.
        passes: steps of the whole run.
    """

    def __init__(
        self, config: AgentConfig, algorithm: QLearning, *, transitions: Transitions, passes: int
    ) -> None:
        self._log = transitions
        self._discount = config.discount
        self._schedule = Schedule(algorithm.learning_rate, passes)
        # Pairs that were never tried are below everything and never the maximum; a state that was
        # never left is worth nothing either way.
        self._table = new_table(config.spaces, 0.0)
        self._table[transitions.observations] = -np.inf
        self._table[transitions.observations, transitions.actions] = 0.0

    def learn(self, steps: range, *, seed: int) -> list[float]:
        """Pass over the log once a step, in an order drawn from the seed; no episodes are played."""
        rng, log = np.random.default_rng(seed), self._log
        columns = (log.observations, log.actions, log.rewards, log.next_observations, log.terminal)
        for step in steps:
            order = rng.permutation(len(log))
            rate = self._schedule.learning_rate(step)
            for transition in zip(*(column[order].tolist() for column in columns), strict=True):
                update(self._table, transition, learning_rate=rate, discount=self._discount)
        return []

    def policy(self) -> TablePolicy:
        """Return what has been learned so far."""
        worst = min(0.0, float(self._log.rewards.min())) / (1.0 - self._discount)
        return TablePolicy((np.where(np.isinf(self._table), worst, self._table).astype(np.float32),))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that a run needs to go on from here."""
        return {"table": self._table}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned."""
        self._table[:] = state["table"]
