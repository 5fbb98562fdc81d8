"""When the rows of a series were: texts to whole ticks, and ticks to steps of the series.

A tick is a microsecond, or a millionth where times are numbers.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

TICKS = 1_000_000
"""Ticks of a second, or of the number 1."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400 * TICKS
_LARGEST = 2**62
_UNITS = ((_DAY, "day"), (3600 * TICKS, "hour"), (60 * TICKS, "minute"), (TICKS, "second"))


class Clock:
    """Reads and writes times in the one way that a column of them is written in."""

    def __init__(self, time_format: str, *, first: str) -> None:
        """Tell the way.

        Args:
            time_format: as in strptime; empty for ISO 8601 or numbers.
            first: the first time there is.
        """
        self._format = time_format
        # Eight digits are a date, which ISO 8601 writes so too, if there is such a day.
        is_date = re.fullmatch(r"(1[89]|2[01])\d{6}", first) is not None and self._moment(first) is not None
        self.counts = not time_format and not is_date and _number(first) is not None
        """Whether times are numbers."""

    def read(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ticks int64 [n], and bool [n], false where a text is no time."""
        parse: Callable[[str], int | None] = _number if self.counts else self._moment
        ticks = [parse(text) for text in texts]
        good = np.fromiter((tick is not None for tick in ticks), np.bool_, len(ticks))
        return np.fromiter((tick or 0 for tick in ticks), np.int64, len(ticks)), good

    @property
    def expectation(self) -> str:
        """What a time must look like."""
        if self.counts:
            return "a number, as in the first row"
        if self._format:
            return f"a time written as {self._format}"
        return "a date or time in ISO 8601, as 2024-05-31 or 2024-05-31T18:00; or give the time_format"

    def write(self, tick: int) -> str:
        """A time as text; midnight goes without saying."""
        if self.counts:
            return f"{tick / TICKS:.15g}"
        moment = _EPOCH + timedelta(microseconds=tick)
        return moment.replace(tzinfo=None).isoformat(" ").removesuffix(" 00:00:00")

    def _moment(self, text: str) -> int | None:
        try:
            if self._format:
                moment = datetime.strptime(text, self._format)
            else:
                moment = datetime.fromisoformat(text.strip().replace("/", "-"))
        except ValueError:
            return None
        # A time without a zone is taken as UTC, which knows no changes of the clock.
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (zoned - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Step:
    """The time from one row to the next."""

    size: int
    """Ticks, or months."""
    months: bool = False
    """Whether `size` counts calendar months."""

    def name(self, clock: Clock) -> str:
        """The step for a person."""
        if self.months:
            return _counted(self.size, "month")
        if clock.counts:
            return f"{self.size / TICKS:.15g}"
        for ticks, unit in _UNITS:
            if self.size % ticks == 0:
                return _counted(self.size // ticks, unit)
        return f"{self.size / TICKS:.15g} seconds"

    def positions(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times in the unit of `size`: [n]."""
        return _months(ticks) if self.months else ticks


def find_step(ticks: NDArray[np.int64], same: NDArray[np.bool_], *, clock: Clock) -> Step:
    """The commonest distance of two rows.

    Args:
        ticks: times of n > 0 rows, rising within each series.
        same: [n - 1], whether a row and the next are of one series.
        clock: reads the times.
    """
    distances = np.diff(ticks)[same]
    if len(distances) == 0:
        return Step(TICKS)
    months = not clock.counts and distances.min() >= 28 * _DAY and _by_month(ticks)
    if months:
        distances = np.diff(_months(ticks))[same]
    sizes, counts = np.unique(distances, return_counts=True)
    return Step(int(sizes[counts.argmax()]), months=months)


def _by_month(ticks: NDArray[np.int64]) -> bool:
    """Whether all times are the same day and time of their months, or of their months' ends."""
    from_start = ticks - _month_start(_months(ticks))
    to_end = _month_start(_months(ticks) + 1) - ticks
    return bool((from_start == from_start[0]).all() or (to_end == to_end[0]).all())


def _months(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    months: NDArray[np.int64] = ticks.astype("M8[us]").astype("M8[M]").astype(np.int64)
    return months


def _month_start(months: NDArray[np.int64]) -> NDArray[np.int64]:
    starts: NDArray[np.int64] = months.astype("M8[M]").astype("M8[us]").astype(np.int64)
    return starts


def _number(text: str) -> int | None:
    try:
        ticks = float(text) * TICKS
    except ValueError:
        return None
    # No NaN, and nothing that does not fit.
    return round(ticks) if abs(ticks) < _LARGEST else None


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
