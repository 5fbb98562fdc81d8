"""The memory that a DQN learns from.

One float32 matrix with a row for each transition, so that a learning call's batches are one `take`:

    observation | observation n steps later | action | sum of the rewards between | discount

The discount is what the value of the later observation counts: gamma^n, and 0 where the episode
terminated. An episode that was cut off has no 0: what would have come after still counts. So the
flags themselves need not be remembered.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXTRA_COLUMNS = 3
"""Columns beside the two observations: action, return, discount."""


class ReplayBuffer:
    """The latest transitions, of n steps each.

    Args:
        capacity: transitions that are kept; the oldest go first.
        observation_size: numbers in one observation.
        discount: gamma.
        n_step: rewards that are summed before the later observation.
    """

    def __init__(self, capacity: int, observation_size: int, *, discount: float, n_step: int = 1) -> None:
        self._rows = np.zeros((capacity, 2 * observation_size + EXTRA_COLUMNS), dtype=np.float32)
        self._size = observation_size
        self._discount = discount
        self._n_step = n_step
        self._next = 0
        self._count = 0
        self._pending: deque[tuple[NDArray[np.float32], int, float]] = deque()

    def __len__(self) -> int:
        return self._count

    def add(
        self,
        observation: NDArray[np.float32],
        action: int,
        *,
        reward: float,
        next_observation: NDArray[np.float32],
        terminated: bool,
        ended: bool,
    ) -> None:
        """Remember one step.

        Args:
            observation: what was seen, `[observation_size]`.
            action: what was done.
            reward: what it brought.
            next_observation: what was seen after.
            terminated: nothing comes after by the rules of the environment.
            ended: the episode is over, terminated or cut off.
        """
        pending = self._pending
        pending.append((observation, action, reward))
        while pending and (ended or len(pending) == self._n_step):
            self._write(next_observation, terminated=terminated)
            pending.popleft()

    def cut(self, next_observation: NDArray[np.float32]) -> None:
        """End the episode from outside, before the next observation."""
        while self._pending:
            self._write(next_observation, terminated=False)
            self._pending.popleft()

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
        """Draw rows evenly, with repetition: `[count, 2 * observation_size + 3]`."""
        return self._rows.take(rng.integers(self._count, size=count), axis=0)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what is remembered; steps that wait for later ones are left out."""
        return {"rows": self._rows[: self._count], "next": np.array(self._next)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Remember what `state` returned, and nothing else."""
        rows = state["rows"]
        self._rows[: len(rows)] = rows
        self._count, self._next = len(rows), int(state["next"])
        self._pending.clear()

    def _write(self, next_observation: NDArray[np.float32], *, terminated: bool) -> None:
        observation, action, _ = self._pending[0]
        total = 0.0
        for _, _, reward in reversed(self._pending):
            total = reward + self._discount * total
        row, size = self._rows[self._next], self._size
        row[:size] = observation
        row[size : 2 * size] = next_observation
        row[2 * size] = action
        row[2 * size + 1] = total
        row[2 * size + 2] = 0.0 if terminated else self._discount ** len(self._pending)
        self._next = (self._next + 1) % len(self._rows)
        self._count = min(self._count + 1, len(self._rows))
