"""Learning a network from a log."""

import numpy as np
import pytest

from lepton_rl_agent.agent import UPDATES_PER_CALL, Dqn, settle
from lepton_rl_agent.spaces import Box, Spaces
from lepton_rl_agent.transitions import Transitions

pytestmark = pytest.mark.timeout(300)  # TensorFlow takes its time to load on a busy machine.

ALGORITHM = Dqn(learning_rate=0.01, hidden_units=(32,), batch_size=32)


def a_log_of_anything(count: int) -> Transitions:
    """The sign of the first number decides which of two actions brings 1; every step is on its own."""
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(count, 2)).astype(np.float32)
    actions = rng.integers(2, size=count)
    rewards = (actions == (observations[:, 0] > 0)).astype(np.float64)
    return Transitions(observations, actions, rewards, observations, np.ones(count, dtype=np.bool_))


def test_from_a_log_of_anything_comes_the_best_policy() -> None:
    from lepton_rl_agent.worker.logged_dqn import LoggedDqnLearner

    config = settle("agents/a", ALGORITHM, spaces=Spaces(Box((2,)), 2))
    steps = 4 * UPDATES_PER_CALL
    learner = LoggedDqnLearner(config, ALGORITHM, transitions=a_log_of_anything(1000), steps=steps, seed=0)
    learner.learn(range(steps), seed=0)
    seen = np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
    chosen = learner.policy().values(seen).argmax(axis=1)
    assert (chosen == (seen[:, 0] > 0)).mean() > 0.95


@pytest.mark.parametrize(
    ("transitions", "passes", "calls"),
    [(10, 1, 1), (4096, 1, 1), (4097, 1, 2), (1000, 10, 3)],
)
def test_passes_become_whole_learning_calls(transitions: int, passes: int, calls: int) -> None:
    from lepton_rl_agent.worker.logged_dqn import gradient_steps

    steps = gradient_steps(transitions, ALGORITHM, passes=passes)
    assert steps == calls * UPDATES_PER_CALL
    assert steps * ALGORITHM.batch_size >= transitions * passes
