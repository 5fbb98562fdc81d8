"""What learning reaches within its steps, and how fast: `pytest -m benchmark -s tests/benchmarks/...`."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from lepton_common.objects import ObjectStore
from lepton_rl_agent.agent import Algorithm, Dqn, QLearning, settle
from lepton_rl_agent.exploration import Softmax
from lepton_rl_agent.worker import course, learners
from lepton_rl_agent.worker.checkpoints import Checkpoints
from lepton_rl_agent.worker.evaluation import play_greedily
from lepton_rl_agent.worker.policy import Policy

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]


class Silence:
    """A listener that hears nothing and never asks to stop."""

    stop_requested = False

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        """Hear nothing."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Hear nothing."""

    def flush(self) -> None:
        """Write nothing down."""


@pytest.fixture
def learn(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Policy]:
    """A function that carries out a run as a worker does, and says how long it took."""

    def run(environment: str, algorithm: Algorithm, *, steps: int, seed: int, temperature: float) -> Policy:
        exploration = Softmax(temperature)
        config = settle("agents/a", algorithm, environment=environment, exploration=exploration)
        objects = ObjectStore(f"file://{tmp_path_factory.mktemp('objects')}")
        start = time.perf_counter()
        learner, plan = learners.simulated(config, {"simulation": {"steps": steps}, "seed": seed})
        policy = course.run(
            learner,
            plan,
            judge=lambda policy, episodes, seed: play_greedily(
                environment, policy, episodes=episodes, seed=seed
            ),
            listener=Silence(),
            checkpoints=Checkpoints(objects, "jobs/a"),
        )
        seconds = time.perf_counter() - start
        print(f"\n{environment} seed {seed}: {seconds:.1f} s, {steps / seconds:.0f} steps/s", end="")
        return policy

    return run


@pytest.mark.parametrize("seed", range(5))
def test_a_pole_is_held_up_after_50_000_steps(seed: int, learn: Callable[..., Policy]) -> None:
    policy = learn("CartPole-v1", Dqn(), steps=50_000, seed=seed, temperature=1.0)
    returns = play_greedily("CartPole-v1", policy, episodes=20, seed=10_000 + seed)
    print(f", mean {returns.mean():.1f}, lowest {returns.min():.0f}")
    assert returns.mean() >= 475


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("environment", "algorithm", "steps", "mean"),
    [
        ("FrozenLake-v1", QLearning(initial_value=1.0), 100_000, 0.70),
        ("CliffWalking-v1", QLearning(learning_rate=1.0), 6_000, -13.0),
        ("Taxi-v4", QLearning(learning_rate=1.0, initial_value=20.0), 150_000, 7.6),
    ],
)
def test_a_table_becomes_the_best(
    environment: str, algorithm: Algorithm, steps: int, mean: float, seed: int, learn: Callable[..., Policy]
) -> None:
    policy = learn(environment, algorithm, steps=steps, seed=seed, temperature=1.0)
    returns = play_greedily(environment, policy, episodes=500, seed=10_000 + seed)
    error = returns.std() / np.sqrt(len(returns))
    print(f", mean {returns.mean():.3f} +- {error:.3f}")
    assert returns.mean() >= mean - error
