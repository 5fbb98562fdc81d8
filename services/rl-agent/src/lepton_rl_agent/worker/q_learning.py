"""Q-learning in a table. Watkins, "Learning from delayed rewards", 1989.

    Q(s,a) += alpha [r + gamma max_a' Q(s',a') - Q(s,a)]

There is nothing to add after a step that ended the episode by the environment's own rules. After one
that was cut off, as by a time limit, there is: the world would have gone on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent.agent import AgentConfig, QLearning
from lepton_rl_agent.exploration import Softmax
from lepton_rl_agent.spaces import Discrete

RATE_FALLS_TO = 0.05
"""Share of the learning rate that is left at the end of a run."""

EXPLORING_SHARE = 0.8
"""Share of a run over which the temperature falls."""

TEMPERATURE_FALLS_TO = 0.01
"""Share of the temperature that is left then."""


@dataclass(frozen=True)
class Schedule:
    """What changes over a run: step size and temperature.

    Attributes:
        learning_rate: alpha at the start; it falls in a line to a twentieth.
        temperature: T of the softmax at the start; it falls by equal factors to a hundredth, then
            stays there for the last fifth of the run.
        steps: length of the run.
    """

    learning_rate: float
    temperature: float
    steps: int

    def learning_rate_at(self, step: int) -> float:
        """Return alpha at a step."""
        return self.learning_rate * (1.0 - (1.0 - RATE_FALLS_TO) * step / self.steps)

    def temperature_at(self, step: int) -> float:
        """Return T at a step."""
        explored = min(1.0, step / (EXPLORING_SHARE * self.steps))
        return self.temperature * TEMPERATURE_FALLS_TO**explored


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
        config: the agent; its algorithm is `QLearning` and it sees a `Discrete` space.
        steps: environment steps of the whole run.
    """

    def __init__(self, config: AgentConfig, *, steps: int) -> None:
        algorithm, seen = config.algorithm, config.spaces.observation
        if not isinstance(algorithm, QLearning) or not isinstance(seen, Discrete):
            raise TypeError("a table is learned by Q-learning from a discrete space")
        rule = config.exploration
        self._table = np.full((seen.size, config.spaces.actions), float(algorithm.initial_value))
        self._discount = config.discount
        self._schedule = Schedule(
            learning_rate=algorithm.learning_rate,
            temperature=rule.temperature if isinstance(rule, Softmax) else 1.0,
            steps=steps,
        )

    def learn(self, world: gymnasium.Env[Any, Any], steps: range, *, seed: int) -> list[float]:
        """Act and learn, from a new episode on.

        Args:
            world: the environment.
            steps: which steps of the run these are.
            seed: of the environment and of the exploration.

        Returns:
            The sum of the rewards of each episode that came to its end.
        """
        table, discount = self._table, self._discount
        # argmax(Q/T + G) with Gumbel noise G draws from softmax(Q/T): no exponentials, no overflow.
        noise = np.random.default_rng(seed).gumbel(size=(len(steps), table.shape[1]))
        returns, total = [], 0.0
        state, _ = world.reset(seed=seed)
        for step, gumbel in zip(steps, noise, strict=True):
            temperature = self._schedule.temperature_at(step)
            action = int((table[state] + temperature * gumbel).argmax())
            next_state, reward, terminated, truncated, _ = world.step(action)
            update(
                table,
                (state, action, float(reward), next_state, terminated),
                learning_rate=self._schedule.learning_rate_at(step),
                discount=discount,
            )
            total += float(reward)
            state = next_state
            if terminated or truncated:
                returns.append(total)
                total = 0.0
                state, _ = world.reset()
        return returns

    def values(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Return the action values of states, `[batch] -> [batch, actions]`."""
        return self.table()[observations]

    def table(self) -> NDArray[np.float32]:
        """Return Q as a policy keeps it, `[states, actions]`."""
        return self._table.astype(np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that a run needs to go on from here."""
        return {"table": self._table}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned."""
        self._table[:] = state["table"]
