"""Where a run was."""

import numpy as np

from lepton_common.objects import ObjectStore
from lepton_rl_agent.worker.checkpoints import Checkpoints


def test_a_run_that_has_not_begun_has_none(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None


def test_the_latest_comes_back_as_it_was(checkpoints: Checkpoints) -> None:
    for step in (5, 100_000):
        checkpoints.save(step, {"table": np.full((2, 3), step), "count": np.array(2.5)})
    found = checkpoints.latest()
    assert found is not None
    step, state = found
    assert step == 100_000
    assert state["table"].tolist() == [[100_000] * 3] * 2
    assert state["count"] == 2.5


def test_old_ones_go_and_the_one_before_stays(objects: ObjectStore, checkpoints: Checkpoints) -> None:
    for step in range(5):
        checkpoints.save(step, {"step": np.array(step)})
    assert len(objects.list("jobs/a")) == 2


def test_a_damaged_one_is_passed_over(objects: ObjectStore, checkpoints: Checkpoints) -> None:
    for step in (1, 2):
        checkpoints.save(step, {"step": np.array(step)})
    damaged = objects.list("jobs/a")[-1]
    objects.put(damaged.key, objects.get(damaged.key)[:-1])
    found = checkpoints.latest()
    assert found is not None
    assert found[0] == 1
