"""Learning a network by acting."""

import numpy as np
import pytest

from lepton_common.errors import Cancelled
from lepton_common.objects import ObjectStore
from lepton_rl_agent.agent import Dqn, settle
from lepton_rl_agent.spaces import Box, Spaces
from lepton_rl_agent.worker.checkpoints import Checkpoints
from lepton_rl_agent.worker.course import Learner, Plan, run

from .conftest import IdentityWorld, Listener

pytestmark = pytest.mark.timeout(300)  # TensorFlow takes its time to load on a busy machine.

ALGORITHM = Dqn(hidden_units=(32,), batch_size=32, buffer_size=1500)
STEPS = 2048


PLAN = Plan(length=STEPS, segment=512, unit="step", seed=3, keep_best=False)


def new_learner() -> Learner:
    """A learner in a world where the number that is seen is the right action."""
    from lepton_rl_agent.worker.dqn import DqnLearner

    config = settle("agents/a", ALGORITHM, spaces=Spaces(Box((4,)), 4), discount=0.9)
    return DqnLearner(config, ALGORITHM, world=IdentityWorld(4, one_hot=True), steps=STEPS, seed=1)


def test_the_number_that_is_seen_becomes_the_action() -> None:
    learner = new_learner()
    rewards = learner.learn(range(STEPS), seed=0)
    assert learner.policy().values(np.eye(4)).argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert np.mean(rewards[-10:]) > 9


def test_what_is_given_away_does_not_change_any_more() -> None:
    learner = new_learner()
    before = learner.policy()
    kept = [array.copy() for array in before.arrays]
    learner.learn(range(512), seed=0)
    assert all(np.array_equal(one, other) for one, other in zip(before.arrays, kept, strict=True))


def test_a_run_that_was_stopped_ends_with_the_same_policy_bit_for_bit(
    objects: ObjectStore, checkpoints: Checkpoints
) -> None:
    whole = run(
        new_learner(), PLAN, judge=None, listener=Listener(), checkpoints=Checkpoints(objects, "jobs/whole")
    )
    with pytest.raises(Cancelled):
        run(new_learner(), PLAN, judge=None, listener=Listener(stop_after=3), checkpoints=checkpoints)
    resumed = run(new_learner(), PLAN, judge=None, listener=Listener(), checkpoints=checkpoints)
    assert all(np.array_equal(one, other) for one, other in zip(whole.arrays, resumed.arrays, strict=True))


@pytest.mark.parametrize("steps", [1, 2, 300])
def test_the_shortest_of_runs_ends_well(steps: int) -> None:
    from lepton_rl_agent.worker.dqn import DqnLearner

    config = settle("agents/a", ALGORITHM, spaces=Spaces(Box((4,)), 4))
    world = IdentityWorld(4, one_hot=True)
    DqnLearner(config, ALGORITHM, world=world, steps=steps, seed=1).learn(range(steps), seed=0)
