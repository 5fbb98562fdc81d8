"""Small worlds with known answers."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from lepton_common.objects import ObjectStore
from lepton_rl_agent.agent import AgentConfig, Algorithm, settle
from lepton_rl_agent.exploration import Exploration, Softmax
from lepton_rl_agent.worker.checkpoints import Checkpoints


class IdentityWorld(gymnasium.Env[Any, Any]):
    """Shows a number and rewards the action that is that number. After ten steps it is over."""

    def __init__(self, numbers: int, *, one_hot: bool = False) -> None:
        self.observation_space = Box(0.0, 1.0, (numbers,)) if one_hot else Discrete(numbers)
        self.action_space = Discrete(numbers)
        self._numbers, self._one_hot = numbers, one_hot
        self._number = self._step = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._show(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self._number)
        self._step += 1
        return self._show(), reward, self._step == 10, False, {}

    def _show(self) -> Any:
        self._number = int(self.np_random.integers(self._numbers))
        return np.eye(self._numbers, dtype=np.float32)[self._number] if self._one_hot else self._number


class EndlessWorld(gymnasium.Env[Any, Any]):
    """One state, one action, reward 1, for ever; only a time limit ends an episode."""

    observation_space = Discrete(1)
    action_space = Discrete(1)

    def __init__(self, limit: int) -> None:
        self._limit, self._step = limit, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return 0, 1.0, False, self._step == self._limit, {}


def optimal_values(world: gymnasium.Env[Any, Any], *, discount: float) -> NDArray[np.float64]:
    """Value iteration over the transition probabilities that the world tells: V `[states]`.

    `V(s) = max_a sum_s' p(s'|s,a) [R(s,a,s') + gamma V(s')]`, with nothing after a terminal step.
    """
    chances = world.unwrapped.P  # type: ignore[attr-defined]
    values = np.zeros(len(chances))
    for _ in range(10_000):
        renewed = np.array(
            [max(_worth(chances[s][a], values, discount) for a in chances[s]) for s in chances]
        )
        if np.abs(renewed - values).max() < 1e-10:
            return renewed
        values = renewed
    raise AssertionError("value iteration did not converge")


def policy_values(
    world: gymnasium.Env[Any, Any], actions: NDArray[np.int64], *, discount: float
) -> NDArray[np.float64]:
    """What a deterministic policy is worth from each state: the same, with its action for the maximum."""
    chances = world.unwrapped.P  # type: ignore[attr-defined]
    values = np.zeros(len(chances))
    for _ in range(5_000):
        values = np.array([_worth(chances[s][int(actions[s])], values, discount) for s in chances])
    return values


def _worth(outcomes: Any, values: NDArray[np.float64], discount: float) -> float:
    return float(sum(p * (reward + discount * values[s] * (not over)) for p, s, reward, over in outcomes))


WARM = Softmax(1.0)


def agent_in(
    environment: str, algorithm: Algorithm, *, exploration: Exploration = WARM, discount: float = 0.99
) -> AgentConfig:
    """An agent in one of Gymnasium's environments."""
    return settle("agents/a", algorithm, environment=environment, exploration=exploration, discount=discount)


class Listener:
    """Hears what a run says, and asks it to stop after so many looks at the policy."""

    def __init__(self, *, stop_after: int = 1_000_000) -> None:
        self.metrics: dict[str, list[tuple[int, float]]] = {}
        self.flushed: dict[str, list[tuple[int, float]]] = {}
        self.phases: list[tuple[str, int, int, str]] = []
        self._stop_after = stop_after

    @property
    def stop_requested(self) -> bool:
        return len(self.phases) >= self._stop_after

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        self.phases.append((phase, done, total, unit))

    def metric(self, name: str, step: int, value: float) -> None:
        self.metrics.setdefault(name, []).append((step, value))

    def flush(self) -> None:
        self.flushed = {name: list(points) for name, points in self.metrics.items()}


@pytest.fixture
def objects(tmp_path: Any) -> Iterator[ObjectStore]:
    """An empty object store."""
    yield ObjectStore(f"file://{tmp_path}/objects")


@pytest.fixture
def checkpoints(objects: ObjectStore) -> Checkpoints:
    """The checkpoints of a run that has not begun."""
    return Checkpoints(objects, "jobs/a")
