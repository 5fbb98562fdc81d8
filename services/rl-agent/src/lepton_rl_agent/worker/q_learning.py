"""Q-learning in a table. Watkins, "Learning from delayed rewards", 1989.

    Q(s,a) += alpha [r + gamma max_a' Q(s',a') - Q(s,a)]

There is nothing to add after a step that ended the episode by the environment's own rules. After one
that was cut off, as by a time limit, there is: the world would have gone on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent.agent import AgentConfig, QLearning
from lepton_rl_agent.exploration import Softmax
from lepton_rl_agent.spaces import Discrete, Spaces
from lepton_rl_agent.worker.policy import TablePolicy

RATE_FALLS_TO = 0.05
"""Share of the learning rate that is left at the end of a run."""

EXPLORING_SHARE = 0.8
"""Share of a run over which the temperature falls."""

TEMPERATURE_FALLS_TO = 0.01
"""Share of the temperature that is left then."""

NOISE_BLOCK = 1 << 16
"""Random numbers that are drawn at once."""


@dataclass(frozen=True)
class Schedule:
    """What changes over a run.

    Attributes:
        initial_rate: the step size alpha at the start.
        steps: length of the run.
    """

    initial_rate: float
    steps: int

    def learning_rate(self, step: int) -> float:
        """Return alpha at a step: it falls in a line to a twentieth."""
        return self.initial_rate * (1.0 - (1.0 - RATE_FALLS_TO) * step / self.steps)

    def cooling(self, step: int) -> float:
        """Return what the first temperature is multiplied by at a step.

        It falls by equal factors to a hundredth, then stays there for the last fifth of the run.
        """
        return float(TEMPERATURE_FALLS_TO ** min(1.0, step / (EXPLORING_SHARE * self.steps)))


def new_table(spaces: Spaces, value: float) -> NDArray[np.float64]:
    """Return a table `[states, actions]` with the same value for every pair."""
    if not isinstance(spaces.observation, Discrete):
        raise TypeError("a table has a row for each of finitely many observations")
    return np.full((spaces.observation.size, spaces.actions), value, dtype=np.float64)


def update(
    table: NDArray[np.float64],
    transition: tuple[int, int, float, int, bool],
    *,
    learning_rate: float,
    discount: float,
) -> None:
    """Move the value of one pair towards what was seen.

    Args:
        table: Q, `[states, actions]`; changed in place.
        transition: state, action, reward, next state, and whether the episode terminated there.
        learning_rate: alpha.
        discount: gamma.
    """
    state, action, reward, next_state, terminated = transition
    target = reward if terminated else reward + discount * table[next_state].max()
    table[state, action] += learning_rate * (target - table[state, action])


class QLearner:
    """Learns a table by acting with a softmax that cools down.

    Args:
        config: the agent; it sees a `Discrete` space.
        algorithm: how it learns.
        world: the environment it learns in.
        steps: environment steps of the whole run.
    """

    def __init__(
        self, config: AgentConfig, algorithm: QLearning, *, world: gymnasium.Env[Any, Any], steps: int
    ) -> None:
        self._table = new_table(config.spaces, algorithm.initial_value)
        self._world = world
        self._discount = config.discount
        self._schedule = Schedule(algorithm.learning_rate, steps)
        rule = config.exploration
        self._temperature = rule.temperature if isinstance(rule, Softmax) else 1.0

    def learn(self, steps: range, *, seed: int) -> list[float]:
        """Act and learn, from a new episode on.

        Args:
            steps: which steps of the run these are.
            seed: of the environment and of the exploration.

        Returns:
            The sum of the rewards of each episode that came to its end.
        """
        table, world, schedule = self._table, self._world, self._schedule
        noise = _gumbel(np.random.default_rng(seed), len(steps), table.shape[1])
        returns, total = [], 0.0
        state, _ = world.reset(seed=seed)
        for step, gumbel in zip(steps, noise, strict=True):
            # argmax(Q/T + G) with Gumbel noise G draws from softmax(Q/T): no exponentials, no overflow.
            temperature = self._temperature * schedule.cooling(step)
            action = int((table[state] + temperature * gumbel).argmax())
            next_state, reward, terminated, truncated, _ = world.step(action)
            update(
                table,
                (state, action, float(reward), next_state, terminated),
                learning_rate=schedule.learning_rate(step),
                discount=self._discount,
            )
            total += float(reward)
            state = next_state
            if terminated or truncated:
                returns.append(total)
                total = 0.0
                state, _ = world.reset()
        return returns

    def policy(self) -> TablePolicy:
        """Return what has been learned so far."""
        return TablePolicy((self._table.astype(np.float32),))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that a run needs to go on from here."""
        return {"table": self._table}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned."""
        self._table[:] = state["table"]


def _gumbel(rng: np.random.Generator, rows: int, columns: int) -> Iterator[NDArray[np.float64]]:
    """Yield rows of noise, drawn in blocks that stay small however many actions there are."""
    block = max(1, NOISE_BLOCK // columns)
    for drawn in range(0, rows, block):
        yield from rng.gumbel(size=(min(block, rows - drawn), columns))
