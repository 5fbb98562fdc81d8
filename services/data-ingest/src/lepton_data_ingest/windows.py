"""Rows of time series, put in order and cut into windows that no split shares a forecast row with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lepton_common.errors import SchemaViolation
from lepton_data_ingest.fractions import Fractions
from lepton_data_ingest.series import DraftSeries
from lepton_data_ingest.times import Clock, Step, find_step
from lepton_learn.manifest import Split
from lepton_learn.schema import Batch
from lepton_learn.series import HISTORY, seasonal_naive

_BATCH_BYTES = 8 * 1024 * 1024
_SEASON_BUDGET = 1 << 26
_SEASON_WINDOWS = 2048
_NEXT_TO = 1.1
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of all series, as they came."""

    keys: Sequence[str]
    """Names of the series."""
    series: NDArray[np.int64]
    """[n]: place of each row's series among the keys."""
    ticks: NDArray[np.int64]
    """[n]: when it was."""
    values: NDArray[np.float32]
    """[n, channels]; the label is the first."""
    clock: Clock
    """Reads and writes times."""

    def take(self, places: NDArray[np.int64]) -> "Rows":
        """The rows at these places."""
        return Rows(
            keys=self.keys,
            series=self.series[places],
            ticks=self.ticks[places],
            values=self.values[places],
            clock=self.clock,
        )

    def name(self, row: int) -> str:
        """A row for a person."""
        key = self.keys[self.series[row]]
        return self.clock.write(int(self.ticks[row])) + (f" of {key}" if key else "")


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """Rows in order of series and time, as far as they are of use."""

    rows: Rows
    """The rows."""
    steps: NDArray[np.int64]
    """[n]: the number of each row's step; one more than the row before, unless rows are missing between."""
    step: Step | None
    """The time of one step; None where each row is one."""
    gaps: int
    """Places where rows are missing."""
    faults: dict[int, str]
    """What is wrong with rows that are not in order, by their place among all rows as they came."""
    alone: dict[int, str]
    """The same of rows that stand among too few others to make a window."""


def put_in_order(rows: Rows, spec: DraftSeries) -> Ordered:
    """Sort rows, and find those that are of no use.

    That is a row that has the time of another, lies between two steps, or stands among too few others without
    a gap to make a window.
    """
    order = np.lexsort((rows.ticks, rows.series))
    rows, faults = rows.take(order), dict[int, str]()

    def leave_out(bad: NDArray[np.bool_], reason: Callable[[int], str]) -> None:
        nonlocal rows, order
        faults.update({int(order[row]): reason(row) for row in np.flatnonzero(bad).tolist()})
        order, rows = order[~bad], rows.take(np.flatnonzero(~bad))

    twice = np.concatenate([[False], _same(rows) & (np.diff(rows.ticks) == 0)])
    leave_out(twice, lambda row: f"there is a row for {rows.name(row)} already")
    if spec.ignore_gaps:
        step, steps = None, np.arange(len(rows.ticks))
    else:
        step = find_step(rows.ticks, _same(rows), clock=rows.clock)
        name = step.name(rows.clock)
        positions = step.positions(rows.ticks)
        offsets = _offsets(positions % step.size, rows.series)
        between = positions % step.size != offsets
        leave_out(between, lambda row: f"{rows.name(row)} lies between two steps of {name}")
        steps = (positions - offsets)[~between] // step.size
    breaks = _same(rows) & (np.diff(steps) != 1)
    reasons = _too_short(rows, np.flatnonzero(breaks | ~_same(rows)) + 1, spec)
    kept = np.array([row not in reasons for row in range(len(steps))], np.bool_)
    return Ordered(
        rows=rows.take(np.flatnonzero(kept)),
        steps=steps[kept],
        step=step,
        gaps=int(breaks.sum()),
        faults=faults,
        alone={int(order[row]): reason for row, reason in reasons.items()},
    )


def _same(rows: Rows) -> NDArray[np.bool_]:
    """[n - 1]: whether a row and the next are of one series."""
    same: NDArray[np.bool_] = np.diff(rows.series) == 0
    return same


def _offsets(remainders: NDArray[np.int64], series: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n]: the commonest remainder of each row's series."""
    offsets = np.empty_like(remainders)
    starts = np.flatnonzero(np.diff(series, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(series)], strict=True):
        found, counts = np.unique(remainders[start:stop], return_counts=True)
        offsets[start:stop] = found[counts.argmax()]
    return offsets


def _too_short(rows: Rows, ends: NDArray[np.int64], spec: DraftSeries) -> dict[int, str]:
    """By row, what is wrong with those of runs that are too short; all runs but the last end at `ends`."""
    reasons = dict[int, str]()
    counts = np.bincount(rows.series)
    for start, stop in pairwise([0, *ends.tolist(), len(rows.ticks)]):
        if stop - start >= spec.length or start == stop:
            continue
        whole = counts[rows.series[start]] == stop - start
        advice = "smaller ones fit" if whole else "fill the gaps around them, or set ignore_gaps"
        reason = (
            f"there are {stop - start} rows from {rows.name(start)} to {rows.name(stop - 1)}, and a window"
            f" with its horizon takes {spec.length}: {advice}"
        )
        reasons |= dict.fromkeys(range(start, stop), reason)
    return reasons


def divide(ordered: Ordered, spec: DraftSeries, fractions: Fractions) -> dict[Split, NDArray[np.int64]]:
    """The first row of every window, by split, in order.

    What comes last, of all series together, is the test split's, what comes before that the validation
    split's. A window belongs to the split that all the rows belong to that it forecasts; where these are of
    two splits it is left out. So whatever is learnt from was known before the first row that is held out,
    and no series tells of another's future.

    Raises:
        SchemaViolation: there is no window for training.
    """
    starts: dict[Split, list[NDArray[np.int64]]] = {split: [] for split in Split}
    ticks, series = ordered.rows.ticks, ordered.rows.series
    bounds = [*np.flatnonzero(np.diff(series, prepend=-1)).tolist(), len(series)]
    parts = [ticks[first:stop] for first, stop in pairwise(bounds)]
    test = _begin(parts, spec, rows=fractions.test * len(ticks), end=_NEVER)
    validation = _begin(parts, spec, rows=fractions.validation * len(ticks), end=test)
    for first, part in zip(bounds, parts, strict=False):
        edges = first + np.searchsorted(part, [validation, test, _NEVER])
        for split, low, high in zip(Split, [first, *edges], edges, strict=False):
            targets = np.arange(max(low, first + spec.window), high - spec.horizon + 1, spec.stride)
            windows = targets - spec.window
            whole = ordered.steps[windows + spec.length - 1] - ordered.steps[windows] == spec.length - 1
            starts[split].append(windows[whole])
    divided = {split: np.concatenate([*found, np.empty(0, np.int64)]) for split, found in starts.items()}
    if len(divided[Split.TRAIN]) == 0:
        raise SchemaViolation(
            f"no series has a window to learn from: the longest has {max(map(len, parts), default=0)} rows,"
            f" the last of which are held out, and a window with its horizon takes {spec.length} without a"
            " gap: a smaller window, a smaller horizon or smaller fractions may fit"
        )
    return divided


def _begin(parts: Sequence[NDArray[np.int64]], spec: DraftSeries, *, rows: float, end: int) -> int:
    """The first time of a held-out split.

    Args:
        parts: times of each series, rising.
        spec: how long a forecast is.
        rows: how many of the rows the split shall have; it has more where a forecast takes more.
        end: the first time after the split.
    """
    if rows == 0:
        return end
    parts = [part[part < end] for part in parts]
    times = np.sort(np.concatenate([*parts, np.empty(0, np.int64)]))
    if len(times) == 0:
        return end
    last = max((int(part[-spec.horizon]) for part in parts if len(part) >= spec.horizon), default=end)
    return min(last, int(times[max(0, len(times) - max(1, round(rows)))]))


def cut(values: NDArray[np.float32], starts: NDArray[np.int64], spec: DraftSeries, *, label: str) -> Batch:
    """The records that begin at these k rows of [n, channels]: [k, window, channels] and [k, horizon]."""
    views = sliding_window_view(values, spec.length, axis=0)[starts]
    history = views[:, :, : spec.window].transpose(0, 2, 1)
    return {HISTORY: np.ascontiguousarray(history), label: np.ascontiguousarray(views[:, 0, spec.window :])}


def batches(
    values: NDArray[np.float32], starts: NDArray[np.int64], spec: DraftSeries, *, label: str
) -> Iterator[Batch]:
    """All records that begin at these rows, a few megabytes at a time."""
    size = max(1, _BATCH_BYTES // (4 * spec.length * values.shape[1]))
    for place in range(0, len(starts), size):
        yield cut(values, starts[place : place + size], spec, label=label)


def find_season(label: NDArray[np.float32], starts: NDArray[np.int64], spec: DraftSeries) -> int:
    """The season whose repetition is least off, relative to what each window varies.

    Args:
        label: of all rows, [n].
        starts: the first rows of the training windows.
        spec: how long they are.
    """
    count = min(len(starts), _SEASON_WINDOWS, max(16, _SEASON_BUDGET // (spec.window * spec.length)))
    chosen = starts[np.linspace(0, len(starts) - 1, count).astype(np.int64)]
    views = sliding_window_view(label.astype(np.float64), spec.length)[chosen]
    history, truth = views[:, : spec.window], views[:, spec.window :]
    spread = history.std(axis=1, keepdims=True)
    weights = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)
    errors = [
        float((np.abs(truth - seasonal_naive(history, season=season, horizon=spec.horizon)) * weights).mean())
        for season in range(1, spec.window)
    ]
    best = 1 + int(np.argmin(errors))
    # Two or three seasons together are one as well, by chance a little less off: the shortest part counts.
    parts = (part for part in range(1, best + 1) if best % part == 0)
    return next(part for part in parts if errors[part - 1] <= _NEXT_TO * errors[best - 1])
