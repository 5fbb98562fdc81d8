"""The course of a learning run: it learns, looks how good it has become, and keeps the best.

A run is cut into segments. What follows a segment depends on the state at its end alone: randomness is
drawn anew from the run's seed and the step, and an environment starts a new episode. So a worker that
was killed and goes on from the last checkpoint ends with the same policy, bit for bit, as one that was
not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import Cancelled
from lepton_rl_agent.worker.checkpoints import Checkpoints
from lepton_rl_agent.worker.policy import Policy

CANDIDATE_EPISODES = 10
"""Episodes that a policy plays after each segment."""


class Purpose(IntEnum):
    """What a seed is drawn for."""

    WEIGHTS = 0
    LEARNING = 1
    JUDGING = 2
    LAST_JUDGING = 3


class Judge(Protocol):
    """Plays a policy to see how good it is."""

    def __call__(self, policy: Policy, *, episodes: int, seed: int) -> NDArray[np.float64]:
        """Return the sum of the rewards of each episode."""


class Learner(Protocol):
    """Something that learns a policy, in steps."""

    def learn(self, steps: range, *, seed: int) -> list[float]:
        """Learn over these steps of the run; return the reward of each episode that came to its end."""

    def policy(self) -> Policy:
        """Return what has been learned so far; it does not change any more."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that is needed to go on from here."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned."""


class Listener(Protocol):
    """Who hears how a run gets on; a worker is one."""

    @property
    def stop_requested(self) -> bool:
        """Whether the run is to stop, soon."""

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        """Hear how far it is."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Hear one measurement."""

    def flush(self) -> None:
        """Write down what was heard: the state that is kept next does not tell it again."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a run is and how it is cut.

    Attributes:
        length: steps in all.
        segment: steps between two looks at the policy.
        unit: what a step is, for a person.
        seed: of everything random.
        keep_best: whether the result is the best policy that was looked at; else it is the last.
    """

    length: int
    segment: int
    unit: str
    seed: int
    keep_best: bool

    def seed_at(self, step: int, purpose: Purpose) -> int:
        """Return the seed of what is done at a step."""
        # Negative seeds are allowed in a request and not by numpy.
        return int(np.random.SeedSequence([self.seed % 2**64, step, purpose]).generate_state(1)[0])


def run(
    learner: Learner, plan: Plan, *, judge: Judge | None, listener: Listener, checkpoints: Checkpoints
) -> Policy:
    """Take a run to its end, from its last checkpoint on.

    Args:
        learner: as it was when the run began.
        plan: how long, and in which segments.
        judge: plays a policy; None where there is nothing to play in.
        listener: hears progress and the metrics `episode_reward` and `mean_greedy_reward`.
        checkpoints: where the state is kept after each segment.

    Raises:
        Cancelled: the listener asks to stop; the last segment is kept.
    """
    best = _Best(learner.policy())
    step = _resume(learner, best, checkpoints)
    while step < plan.length:
        listener.progress("learning", step, plan.length, plan.unit)
        end = min(step + plan.segment, plan.length)
        rewards = learner.learn(range(step, end), seed=plan.seed_at(step, Purpose.LEARNING))
        step = end
        if rewards:
            listener.metric("episode_reward", step, float(np.mean(rewards)))
        score = -np.inf
        if judge is not None:
            seed = plan.seed_at(step, Purpose.JUDGING)
            score = float(judge(learner.policy(), episodes=CANDIDATE_EPISODES, seed=seed).mean())
            listener.metric("mean_greedy_reward", step, score)
        if score >= best.score or not plan.keep_best:
            best.policy, best.score = learner.policy(), score
        listener.flush()
        checkpoints.save(step, learner.state() | best.state())
        if listener.stop_requested and step < plan.length:
            raise Cancelled(f"stopped after {step} of {plan.length} steps")
    listener.progress("learning", step, plan.length, plan.unit)
    return best.policy


@dataclass
class _Best:
    """The policy that a run will give if nothing better comes."""

    policy: Policy
    score: float = -np.inf

    def state(self) -> dict[str, NDArray[Any]]:
        arrays = {f"best{n}": array for n, array in enumerate(self.policy.arrays)}
        return arrays | {"best_score": np.array(self.score)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        arrays = tuple(state[f"best{n}"] for n in range(len(self.policy.arrays)))
        self.policy, self.score = replace(self.policy, arrays=arrays), float(state["best_score"])


def _resume(learner: Learner, best: _Best, checkpoints: Checkpoints) -> int:
    found = checkpoints.latest()
    if found is None:
        return 0
    step, state = found
    learner.restore(state)
    best.restore(state)
    return step
