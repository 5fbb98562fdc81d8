"""Giving trials up before their end, because others do better.

Whether to is a function of what the trials have measured, nothing else: after a restart it is answered as
before. A trial is given as its measurements (epoch, cost), in order; the smaller cost is the better one.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Course: TypeAlias = Sequence[tuple[int, float]]
"""What a trial measured: (epoch, cost), in order."""


@dataclass(frozen=True, kw_only=True)
class Median:
    """The median stopping rule: Golovin et al., Google Vizier, 2017, section 3.2.1.

    It compares best costs up to an epoch rather than running averages, which would hold a bad start
    against a trial that has recovered from it.

    Attributes:
        startup_trials: Trials that must have ended well before the first is given up.
        warmup_epochs: Epochs that every trial has.
    """

    startup_trials: int = 5
    warmup_epochs: int = 0

    def gives_up(self, number: int, courses: Mapping[int, Course], *, succeeded: Sequence[int]) -> bool:
        """Say whether a trial is worse than the median of the others at its last epoch.

        Args:
            number: The trial, which runs.
            courses: Courses by trial.
            succeeded: Numbers of the trials that have ended well.
        """
        course = courses.get(number, ())
        if not course or len(succeeded) < self.startup_trials or course[-1][0] <= self.warmup_epochs:
            return False
        epoch = course[-1][0]
        # One that stopped early, for it had converged, counts with what it came to.
        others = [_best(courses[other], epoch) for other in succeeded if courses.get(other)]
        return bool(others) and _best(course, epoch) > statistics.median(others)


@dataclass(frozen=True, kw_only=True)
class SuccessiveHalving:
    """Asynchronous successive halving, Li et al., MLSys 2020; in several brackets Hyperband, Li et al., JMLR
    2018.

    A trial that comes to a rung is measured against the trials that were begun before it and came there too,
    so that when it is looked at makes no difference.

    Attributes:
        min_epochs: Epochs to the first rung.
        reduction_factor: One of so many goes on at each rung, and each rung is so many times as far.
        brackets: Trials are dealt in turn to so many; the first rung of each is `reduction_factor` times as
            far as that of the one before.
    """

    min_epochs: int = 1
    reduction_factor: int = 3
    brackets: int = 1

    def gives_up(self, number: int, courses: Mapping[int, Course], *, succeeded: Sequence[int]) -> bool:
        """Say whether a trial is not among the best at a rung that it has come to; see `Median.gives_up`."""
        course = courses.get(number, ())
        bracket = number % self.brackets
        rung = self.min_epochs * self.reduction_factor**bracket
        while course and course[-1][0] >= rung:
            rivals = [
                _best(other, rung)
                for rival, other in courses.items()
                if rival < number and rival % self.brackets == bracket and other and other[-1][0] >= rung
            ]
            places = max(1, (len(rivals) + 1) // self.reduction_factor)
            if sum(rival <= _best(course, rung) for rival in rivals) >= places:
                return True
            rung *= self.reduction_factor
        return False


Pruner: TypeAlias = Median | SuccessiveHalving


def gives_up(pruner: Pruner, number: int, courses: Mapping[int, Course], *, succeeded: Sequence[int]) -> bool:
    """Say whether a trial is to be given up; always when what it measures has stopped being a number."""
    course = courses.get(number, ())
    if course and not math.isfinite(course[-1][1]):
        return True
    return pruner.gives_up(number, courses, succeeded=succeeded)


def _best(course: Course, epoch: int) -> float:
    """The least cost up to an epoch; infinity where none was a number."""
    return min((cost for at, cost in course if at <= epoch and math.isfinite(cost)), default=math.inf)
