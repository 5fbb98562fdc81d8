"""How fast a model answers, learned from its runs: what admission goes by.

A server that takes every request under overload finishes each of them too late. One that
knows its pace refuses at once what it could not answer in time, and keeps answering the rest.
"""

import math

# Of the last run, in what tells how fast runs are now, and in what tells them from each other by their sizes.
_WEIGHT = 0.2
_LONG_WEIGHT = 0.05
# By how much the largest batch is taken to be smaller with each that follows.
_FADING = 0.95
# By how much the quickest run is taken to be slower with each that follows.
_FORGETTING = 1.05
_FRESH_SECONDS = 1.0
# Runs so quick, so soon after another, are not looked at: that would take a good part of their own time.
_QUICK_SECONDS = 0.0005
_SPACING_SECONDS = 0.001
_FRESH_RUNS = 4
# Sizes of batches, in records squared, that differ less say nothing about what a record costs.
_LEAST_VARIANCE = 0.01
# By how many mean deviations a run is taken to be slower than others like it.
_CAUTION = 2.0
# What is left of what a record was known to take, with each run that tells nothing new of it.
_REMEMBERED = 0.95


class Pace:
    """Moving averages over the runs of one model, and what they say of the next ones.

    A run is taken to last some time whatever its batch, and more with each record: a line through the runs,
    by least squares with weights that fade. What a record adds shows only in runs that differ in their
    records. While they do not, it is taken to be less and less: so larger batches are tried again.

    Old figures are not used: without a recent run they say nothing about now, and a single
    slow run must not keep a model from being asked again.

    Args:
        full: records of the largest batch.
        instances: runs at a time.
    """

    def __init__(self, *, full: int = 1, instances: int = 1) -> None:
        self._full = full
        self._instances = instances
        self._fixed_seconds = 0.0
        self._seconds_a_record = 0.0
        self._full_seconds = 0.0
        self._deviation = 0.0
        # Means of what was observed of late.
        self._records = 0.0
        self._seconds = 0.0
        self._largest = 0.0
        # Those of a longer time, variance and covariance; the part of a run's time that its records take.
        self._long_records = 0.0
        self._long_seconds = 0.0
        self._variance = 0.0
        self._covariance = 0.0
        self._share_of_records = 0.5
        self._observed = self._fresh_until = -math.inf
        self._least_seconds = math.inf
        self._least_seconds_a_record = math.inf

    def observe(self, records: int, seconds: float, *, now: float, period: float | None = None) -> None:
        """A run on `records` took so long and ended at `now`, in the seconds of one clock.

        `period` is how long its instance was taken up, where that is longer: with what the loop does between
        two runs while requests wait.
        """
        if seconds < _QUICK_SECONDS and 0 <= now - self._observed < _SPACING_SECONDS:
            return
        seconds = max(seconds, 1e-6)
        self._least_seconds = min(seconds, _FORGETTING * self._least_seconds)
        self._least_seconds_a_record = min(seconds / records, _FORGETTING * self._least_seconds_a_record)
        seconds = seconds if period is None else max(seconds, period)
        if now <= self._fresh_until:
            off = abs(seconds - self._fixed_seconds - self._seconds_a_record * records)
            self._deviation += _WEIGHT * (off - self._deviation)
            self._records += _WEIGHT * (records - self._records)
            self._seconds += _WEIGHT * (seconds - self._seconds)
            self._largest = max(records, _FADING * self._largest)
        else:
            self._records, self._seconds, self._largest = records, seconds, records
            self._long_records, self._long_seconds = records, seconds
            self._variance = self._covariance = self._deviation = 0.0
        more_records, more_seconds = records - self._long_records, seconds - self._long_seconds
        self._long_records += _LONG_WEIGHT * more_records
        self._long_seconds += _LONG_WEIGHT * more_seconds
        kept = 1 - _LONG_WEIGHT
        self._variance = kept * (self._variance + _LONG_WEIGHT * more_records * more_records)
        self._covariance = kept * (self._covariance + _LONG_WEIGHT * more_records * more_seconds)
        self._observed = now
        if self._variance > _LEAST_VARIANCE:
            share = self._covariance / self._variance * self._long_records / self._long_seconds
            self._share_of_records = min(max(share, 0.0), 1.0)
        else:
            self._share_of_records *= _REMEMBERED
        self._fixed_seconds = (1 - self._share_of_records) * self._seconds
        self._seconds_a_record = self._share_of_records * self._seconds / self._records
        self._full_seconds = self._fixed_seconds + self._seconds_a_record * self._full
        self._fresh_until = now + max(_FRESH_SECONDS, _FRESH_RUNS * self._seconds)

    def run_seconds(self, records: int, *, now: float) -> float:
        """How long a run on so many records takes, if it is not among the quick ones; 0 when not known."""
        if now > self._fresh_until:
            return 0.0
        return self._fixed_seconds + records * self._seconds_a_record + self._deviation

    def backlog_seconds(self, records: int, *, now: float) -> float:
        """How long so many waiting records keep the model busy, in full batches; 0 when not known."""
        if now > self._fresh_until:
            return 0.0
        return (
            records / self._full * self._fixed_seconds + records * self._seconds_a_record
        ) / self._instances

    def longest_seconds(self, records: int, *, elapsed: float) -> float:
        """No less than `answer_seconds`, for less work, where so many records wait or run, the request's own
        among them, and the next instance to become idle has been running for `elapsed` seconds."""
        each = self._full_seconds + _CAUTION * self._deviation
        return elapsed + (2 + records / self._full) * each

    def answer_seconds(self, records: int, *, ahead: int, running: int, elapsed: float, now: float) -> float:
        """How long until a request of so many records is surely answered; 0 when not known.

        `ahead` records run before it or with it. The next instance to become idle has been running for
        `elapsed` seconds on `running` records; 0 where one is idle. The batch of the request is taken to be
        as large as the largest ones of late, since others will join it.
        """
        if now > self._fresh_until:
            return 0.0
        fixed, each, full = self._fixed_seconds, self._seconds_a_record, self._full
        batches, rest = divmod(ahead, full)
        seconds = batches * self._full_seconds / self._instances
        if running:
            # A run that lasts longer than it should is taken to go on for as long again.
            seconds += abs(fixed + each * running - elapsed)
        own = fixed + each * max(records, min(max(rest + records, self._largest), full))
        return seconds + own + _CAUTION * self._deviation * math.sqrt(2 + batches)

    def least_seconds(self, records: int) -> float:
        """How long a run on so many records takes where nothing disturbs it; infinite before the first run.

        The quickest runs tell it, the later ones more: slower ones were waiting for the processor.
        """
        return max(self._least_seconds, records * self._least_seconds_a_record)
