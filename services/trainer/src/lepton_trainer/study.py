"""A study as its trials tell it: what counts, which is the best, and whether to go on.

Nothing of a study is kept anywhere but in its trials, so whoever reads them goes on where another left off.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lepton_common.errors import LeptonError, WrongState, by_reason
from lepton_trainer.pruning import Pruner
from lepton_trainer.space import Space, Value

HOPELESS_TRIALS = 3
"""When so many first trials have failed for one reason, so would the rest."""


class TrialState(StrEnum):
    """Where a trial is."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a study.

    Attributes:
        number: Counts from 1.
        state: Where it is.
        parameters: Values by path.
        value: What it came to, or the last value of one that was pruned.
        epoch: When that was measured.
        reason: Why it failed, for a program. Example: "INVALID_MODEL".
        message: Why it failed, for a person.
    """

    number: int
    state: TrialState
    parameters: Mapping[str, Value] = field(default_factory=dict)
    value: float | None = None
    epoch: int = 0
    reason: str = ""
    message: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it stays as it is."""
        return self.state != TrialState.RUNNING


class Sampler(StrEnum):
    """How the parameters of the next trial are chosen."""

    TPE = "TPE"
    RANDOM = "RANDOM"
    GRID = "GRID"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched, and how.

    Attributes:
        space: The parameters.
        trials: How many there are to be in all.
        parallel: How many run at once.
        metric: Name of the metric that decides.
        maximize: Whether greater values are better.
        sampler: How parameters are chosen.
        pruner: When a trial is given up; None never does.
        seed: Of the sampler.
    """

    space: Space
    trials: int
    parallel: int = 1
    metric: str = "validation_loss"
    maximize: bool = False
    sampler: Sampler = Sampler.TPE
    pruner: Pruner | None = None
    seed: int = 0


def best(search: Search, trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the best value, the first of equals; None while none has succeeded."""
    succeeded = [trial for trial in trials if trial.state == TrialState.SUCCEEDED]
    return min(succeeded, key=lambda trial: (cost(search, trial), trial.number), default=None)


def best_values(search: Search, trials: Sequence[Trial]) -> list[tuple[int, float, float]]:
    """Return number, value and the best value up to there, of every trial that succeeded."""
    better = max if search.maximize else min
    rows: list[tuple[int, float, float]] = []
    for trial in trials:
        if trial.state == TrialState.SUCCEEDED and trial.value is not None:
            rows.append((trial.number, trial.value, better([trial.value, *(row[2] for row in rows[-1:])])))
    return rows


def wanted(search: Search, trials: Sequence[Trial]) -> int:
    """Return how many trials are to be begun now."""
    running = sum(not trial.has_ended for trial in trials)
    return max(0, min(search.parallel - running, search.trials - len(trials)))


def is_over(search: Search, trials: Sequence[Trial]) -> bool:
    """Say whether all trials have been made and have ended."""
    return len(trials) >= search.trials and all(trial.has_ended for trial in trials)


def hopeless(search: Search, trials: Sequence[Trial]) -> LeptonError | None:
    """Return why no further trial could end better; None where one could.

    That is when all of the first trials have failed for the same reason.
    """
    first = trials[: min(HOPELESS_TRIALS, search.trials)]
    reasons = {trial.reason for trial in first}
    failed = [trial for trial in first if trial.state == TrialState.FAILED]
    if len(failed) < min(HOPELESS_TRIALS, search.trials) or len(reasons) > 1:
        return None
    cause = by_reason(failed[0].reason)
    many = f"all of the first {len(failed)} trials" if len(failed) > 1 else "the only trial"
    return cause(f"{many} failed: {failed[0].message}")


def without_value(trials: Sequence[Trial]) -> LeptonError:
    """Return why a study that is over has no best trial."""
    if not trials:
        return WrongState("the time was over before the first trial had begun")
    failed = next((trial for trial in trials if trial.state == TrialState.FAILED), None)
    told = f"; the first that failed: {failed.message}" if failed is not None else ""
    return WrongState(f"none of {len(trials)} trials has come to a value{told}")


def kept_value(
    search: Search, points: Sequence[tuple[int, float]], kept_epoch: int
) -> tuple[int, float] | None:
    """Return epoch and value that a trial that trained to its end counts with.

    Args:
        search: Says which values are better.
        points: The metric that decides, as (epoch, value), in order.
        kept_epoch: The epoch whose weights the model has; 0 where that is not known.

    Returns:
        What was measured at that epoch, else the best; None where nothing is a number.
    """
    kept = [point for point in points if point[0] == kept_epoch] or points
    numbers = [(epoch, value) for epoch, value in kept if math.isfinite(value)]
    return min(numbers, key=lambda point: -point[1] if search.maximize else point[1], default=None)


def cost(search: Search, trial: Trial) -> float:
    """Return the value of a trial that has one, so that less is better."""
    assert trial.value is not None, "only trials with a value are compared"
    return -trial.value if search.maximize else trial.value
