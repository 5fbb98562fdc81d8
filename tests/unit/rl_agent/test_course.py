"""How a run gets to its end."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_common.errors import Cancelled
from lepton_common.objects import ObjectStore
from lepton_rl_agent.worker.checkpoints import Checkpoints
from lepton_rl_agent.worker.course import Plan, Purpose, run
from lepton_rl_agent.worker.policy import Policy, TablePolicy

from .conftest import Listener


class Counter:
    """Learns a number: the sum of the seeds of its segments."""

    def __init__(self) -> None:
        self.total = np.zeros(1)
        self.segments: list[range] = []

    def learn(self, steps: range, *, seed: int) -> list[float]:
        self.segments.append(steps)
        self.total = self.total + seed
        return [float(len(steps))]

    def policy(self) -> TablePolicy:
        return TablePolicy((self.total.astype(np.float32)[:, np.newaxis],))

    def state(self) -> dict[str, NDArray[Any]]:
        return {"total": self.total}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.total = state["total"]


class Scores:
    """Judges by a list of scores, one for each look; a score of the list names the policy it was for."""

    def __init__(self, *scores: float) -> None:
        self.policies: list[Policy] = []
        self._scores = scores

    def __call__(self, policy: Policy, *, episodes: int, seed: int) -> NDArray[np.float64]:
        self.policies.append(policy)
        return np.full(episodes, self._scores[len(self.policies) - 1])


def plan(*, keep_best: bool = True, length: int = 50, seed: int = 7) -> Plan:
    """Five segments and a look after each."""
    return Plan(length=length, segment=10, unit="step", seed=seed, keep_best=keep_best)


@pytest.mark.parametrize(
    ("scores", "keep_best", "chosen"),
    [
        pytest.param((1, 9, 3, 2, 5), True, 1, id="the best"),
        pytest.param((1, 9, 3, 9, 5), True, 3, id="the later of two that are as good"),
        pytest.param((1, 9, 3, 2, 5), False, 4, id="the last, where all converges"),
    ],
)
def test_a_run_gives(
    scores: tuple[float, ...], keep_best: bool, chosen: int, checkpoints: Checkpoints
) -> None:
    judge = Scores(*scores)
    policy = run(
        Counter(), plan(keep_best=keep_best), judge=judge, listener=Listener(), checkpoints=checkpoints
    )
    assert np.array_equal(policy.arrays[0], judge.policies[chosen].arrays[0])


def test_without_a_judge_it_gives_the_last(checkpoints: Checkpoints) -> None:
    learner = Counter()
    policy = run(learner, plan(), judge=None, listener=Listener(), checkpoints=checkpoints)
    assert np.array_equal(policy.arrays[0], learner.policy().arrays[0])


def test_the_listener_hears_all_along_how_far_and_how_good_it_is(checkpoints: Checkpoints) -> None:
    listener = Listener()
    judge = Scores(1, 2, 3)
    run(Counter(), plan(length=25), judge=judge, listener=listener, checkpoints=checkpoints)
    assert listener.phases == [("learning", step, 25, "step") for step in (0, 10, 20, 25)]
    assert listener.metrics == {
        "episode_reward": [(10, 10.0), (20, 10.0), (25, 5.0)],
        "mean_greedy_reward": [(10, 1.0), (20, 2.0), (25, 3.0)],
    }


@pytest.mark.parametrize("stopped_after", [1, 2, 4])
def test_a_run_that_was_stopped_goes_on_where_it_was(
    stopped_after: int, objects: ObjectStore, checkpoints: Checkpoints
) -> None:
    scores = (1, 9, 3, 2, 5)
    whole = run(
        Counter(),
        plan(),
        judge=Scores(*scores),
        listener=Listener(),
        checkpoints=Checkpoints(objects, "jobs/b"),
    )
    with pytest.raises(Cancelled):
        run(
            Counter(),
            plan(),
            judge=Scores(*scores),
            listener=Listener(stop_after=stopped_after),
            checkpoints=checkpoints,
        )
    second = Counter()
    resumed = run(
        second, plan(), judge=Scores(*scores[stopped_after:]), listener=Listener(), checkpoints=checkpoints
    )
    assert np.array_equal(resumed.arrays[0], whole.arrays[0])
    assert second.segments[0].start == 10 * stopped_after


def test_a_run_that_was_at_its_end_does_nothing_more(checkpoints: Checkpoints) -> None:
    first = run(Counter(), plan(), judge=None, listener=Listener(), checkpoints=checkpoints)
    idle = Counter()
    again = run(idle, plan(), judge=None, listener=Listener(), checkpoints=checkpoints)
    assert np.array_equal(first.arrays[0], again.arrays[0])
    assert not idle.segments


def test_seeds_differ_by_run_step_and_purpose_and_may_be_negative() -> None:
    seeds = {
        plan(seed=seed).seed_at(step, purpose)
        for seed in (-(2**63), -1, 0, 1, 2**63 - 1)
        for step in (0, 10)
        for purpose in Purpose
    }
    assert len(seeds) == 5 * 2 * len(Purpose)
    assert plan().seed_at(10, Purpose.LEARNING) == plan().seed_at(10, Purpose.LEARNING)


def test_what_was_heard_is_written_down_before_the_state_is_kept(objects: ObjectStore) -> None:
    listener = Listener()

    class Watched(Checkpoints):
        def save(self, step: int, state: Mapping[str, NDArray[Any]]) -> None:
            # A worker that is killed from here on goes on after `step`, and tells no more of it.
            assert [points[-1][0] for points in listener.flushed.values()] == [step, step]
            super().save(step, state)

    checkpoints = Watched(objects, "jobs/a")
    run(Counter(), plan(), judge=Scores(1, 2, 3, 4, 5), listener=listener, checkpoints=checkpoints)
    assert checkpoints.latest() is not None
