"""What a storm came to: figures, and the bars that they are held against."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .conversation import Outcome


@dataclass(frozen=True)
class Record:
    """A figure. A bar of None is none."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    holds: bool = True

    def __str__(self) -> str:
        told = "" if self.bar is None else f"bar {self.bar:g}, holds: {self.holds}"
        return f"{self.name:<66}{self.value:>12.4g} {self.unit:<7}{told}"


def at_least(name: str, value: float, unit: str, bar: float | None) -> Record:
    """A figure that should not be below its bar."""
    return Record(name, value, unit, bar, bar is None or value >= bar)


def at_most(name: str, value: float, unit: str, bar: float | None) -> Record:
    """A figure that should not be above its bar."""
    return Record(name, value, unit, bar, bar is None or value <= bar)


def milliseconds(outcomes: Iterable[Outcome], share: float) -> float:
    """What so many percent of the calls took at most; 0 without calls."""
    times: Sequence[float] = [outcome.seconds for outcome in outcomes]
    # Of two neighbours the later one: a call without an answer took for ever, and is no number to count with.
    return float(np.percentile(times, share, method="higher")) * 1e3 if times else 0.0
