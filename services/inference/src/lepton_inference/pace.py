"""How fast a model answers, learned from its runs: what admission goes by.

A server that takes every request under overload finishes each of them too late. One that
knows its pace refuses at once what it could not answer in time, and keeps answering the rest.
"""

import math

_WEIGHT = 0.2
# By how much the quickest run is taken to be slower with each that follows.
_FORGETTING = 1.05
_FRESH_SECONDS = 1.0
_FRESH_RUNS = 4


class Pace:
    """Moving averages over the runs of one model.

    Old figures are not used: without a recent run they say nothing about now, and a single
    slow run must not keep a model from being asked again.
    """

    def __init__(self) -> None:
        self._run_seconds = 0.0
        self._records_per_second = math.inf
        self._observed = -math.inf
        self._least_seconds = math.inf
        self._least_seconds_a_record = math.inf

    def observe(self, records: int, seconds: float, *, now: float) -> None:
        """A run on `records` took so long and ended at `now`, in the seconds of one clock."""
        seconds = max(seconds, 1e-6)
        rate = records / seconds
        if self._is_fresh(now):
            self._run_seconds += _WEIGHT * (seconds - self._run_seconds)
            self._records_per_second += _WEIGHT * (rate - self._records_per_second)
        else:
            self._run_seconds, self._records_per_second = seconds, rate
        self._observed = now
        self._least_seconds = min(seconds, _FORGETTING * self._least_seconds)
        self._least_seconds_a_record = min(1 / rate, _FORGETTING * self._least_seconds_a_record)

    def run_seconds(self, *, now: float) -> float:
        """How long a run takes; 0 when not known."""
        return self._run_seconds if self._is_fresh(now) else 0.0

    def backlog_seconds(self, records: int, *, now: float) -> float:
        """How long so many waiting records keep the model busy; 0 when not known."""
        return records / self._records_per_second if self._is_fresh(now) else 0.0

    def least_seconds(self, records: int) -> float:
        """How long a run on so many records takes where nothing disturbs it; infinite before the first run.

        The quickest runs tell it, the later ones more: slower ones were waiting for the processor.
        """
        return max(self._least_seconds, records * self._least_seconds_a_record)

    def _is_fresh(self, now: float) -> bool:
        return now - self._observed <= max(_FRESH_SECONDS, _FRESH_RUNS * self._run_seconds)
