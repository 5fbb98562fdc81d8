"""Rows of series become windows: exactly the right ones, and none that a split must not see."""

from typing import Any

import numpy as np
import pytest

from lepton_common.errors import SchemaViolation
from lepton_data_ingest import windows
from lepton_data_ingest.fractions import Fractions
from lepton_data_ingest.series import DraftSeries
from lepton_data_ingest.times import TICKS, Clock
from lepton_data_ingest.windows import Rows, cut, divide, find_season, put_in_order
from lepton_learn.manifest import Split
from lepton_learn.series import HISTORY


def spec(window: int = 3, horizon: int = 2, **facts: Any) -> DraftSeries:
    """How to cut."""
    return DraftSeries(time_column="when", window=window, horizon=horizon, **facts)


def rows(*times: float, series: list[int] | None = None, values: list[float] | None = None) -> Rows:
    """Rows whose values are their times, unless said otherwise."""
    return Rows(
        keys=[""] if series is None else ["a", "b", "c"],
        series=np.array(series or [0] * len(times), np.int64),
        ticks=np.array([round(time * TICKS) for time in times], np.int64),
        values=np.array(values or times, np.float32)[:, np.newaxis],
        clock=Clock("", first="0"),
    )


def records(found: Rows, starts: Any, cutting: DraftSeries) -> list[tuple[list[float], list[float]]]:
    """The windows that begin at these rows, each with what comes after it."""
    batch = cut(found.values, starts, cutting, label="y")
    return [
        (history[:, 0].tolist(), target.tolist())
        for history, target in zip(batch[HISTORY], batch["y"], strict=True)
    ]


def test_the_windows_of_a_small_series_are_exactly_these() -> None:
    ordered = put_in_order(rows(*range(12)), spec())
    divided = divide(ordered, spec(), Fractions(validation=0.25, test=0.25))
    assert {split: records(ordered.rows, starts, spec()) for split, starts in divided.items()} == {
        Split.TRAIN: [([0, 1, 2], [3, 4]), ([1, 2, 3], [4, 5])],
        Split.VALIDATION: [([3, 4, 5], [6, 7]), ([4, 5, 6], [7, 8])],
        Split.TEST: [([6, 7, 8], [9, 10]), ([7, 8, 9], [10, 11])],
    }


def test_rows_in_any_order_give_the_same_windows() -> None:
    places = np.random.default_rng(0).permutation(30)
    ordered = put_in_order(rows(*places.tolist()), spec())
    np.testing.assert_array_equal(ordered.rows.values[:, 0], np.arange(30))
    assert ordered.faults == {}


def test_what_is_learnt_from_came_before_all_that_is_held_out() -> None:
    # Of three series one ends early and one begins late; every row's value is its time.
    series = [0] * 40 + [1] * 25 + [2] * 60
    found = rows(*range(40), *range(75, 100), *range(40, 100), series=series)
    cutting = spec(window=6, horizon=3)
    ordered = put_in_order(found, cutting)
    divided = divide(ordered, cutting, Fractions(validation=0.2, test=0.2))
    seen, forecast = {}, {}
    for split, starts in divided.items():
        cuts = records(ordered.rows, starts, cutting)
        assert len(cuts) > 10
        forecast[split] = {value for _, target in cuts for value in target}
        seen[split] = forecast[split] | {value for history, _ in cuts for value in history}
    assert max(seen[Split.TRAIN]) < min(forecast[Split.VALIDATION])
    assert max(seen[Split.VALIDATION]) < min(forecast[Split.TEST])
    assert max(forecast[Split.TEST]) == 99


def test_a_held_out_split_has_room_for_a_forecast() -> None:
    cutting = spec(horizon=4)
    ordered = put_in_order(rows(*range(30)), cutting)
    divided = divide(ordered, cutting, Fractions(validation=0.01, test=0.01))
    assert records(ordered.rows, divided[Split.TEST], cutting) == [([23, 24, 25], [26, 27, 28, 29])]
    assert records(ordered.rows, divided[Split.VALIDATION], cutting) == [([19, 20, 21], [22, 23, 24, 25])]


def test_no_window_spans_a_gap_or_two_series() -> None:
    times = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
    ordered = put_in_order(rows(*times, *range(6), series=[0] * 12 + [1] * 6), spec())
    assert ordered.gaps == 1
    starts = divide(ordered, spec(), Fractions(validation=0, test=0))[Split.TRAIN]
    assert records(ordered.rows, starts, spec()) == [
        ([0, 1, 2], [3, 4]),
        ([1, 2, 3], [4, 5]),
        ([8, 9, 10], [11, 12]),
        ([9, 10, 11], [12, 13]),
        ([0, 1, 2], [3, 4]),
        ([1, 2, 3], [4, 5]),
    ]


def test_gaps_can_be_ignored() -> None:
    cutting = spec(ignore_gaps=True)
    ordered = put_in_order(rows(0, 1, 2, 5, 6, 100.5), cutting)
    starts = divide(ordered, cutting, Fractions(validation=0, test=0))[Split.TRAIN]
    assert records(ordered.rows, starts, cutting) == [([0, 1, 2], [5, 6]), ([1, 2, 5], [6, 100.5])]
    assert (ordered.gaps, ordered.step) == (0, None)


def test_windows_stand_a_stride_apart() -> None:
    cutting = spec(stride=4)
    ordered = put_in_order(rows(*range(20)), cutting)
    starts = divide(ordered, cutting, Fractions(validation=0, test=0))[Split.TRAIN]
    assert starts.tolist() == [0, 4, 8, 12]


@pytest.mark.parametrize(
    ("times", "faults"),
    [
        ([0, 1, 2, 2, 3, 4], {3: "there is a row for 2 already"}),
        ([0, 1, 1.5, 2, 3, 4, 5], {2: "1.5 lies between two steps of 1"}),
        (
            [0, 1, 2, 3, 4, 7, 8],
            dict.fromkeys(
                (5, 6),
                "there are 2 rows from 7 to 8, and a window with its horizon takes 5: "
                "fill the gaps around them, or set ignore_gaps",
            ),
        ),
    ],
    ids=["twice", "between", "alone"],
)
def test_a_row_of_no_use_says_why(times: list[float], faults: dict[int, str]) -> None:
    ordered = put_in_order(rows(*times), spec())
    assert ordered.faults | ordered.alone == faults
    assert len(ordered.rows.ticks) == len(times) - len(faults)


def test_a_short_series_is_told_by_its_key() -> None:
    ordered = put_in_order(rows(*range(6), *range(3), series=[0] * 6 + [1] * 3), spec())
    assert [*ordered.alone] == [6, 7, 8]
    assert "from 0 of b to 2 of b" in ordered.alone[6]
    assert "takes 5: smaller ones fit" in ordered.alone[6]


def test_a_series_too_short_to_learn_from_is_refused() -> None:
    ordered = put_in_order(rows(*range(7)), spec())
    with pytest.raises(SchemaViolation, match=r"the longest has 7 rows.*takes 5"):
        divide(ordered, spec(), Fractions())


@pytest.mark.parametrize("season", [1, 5, 7])
def test_the_season_is_found(season: int) -> None:
    pattern = np.random.default_rng(1).normal(size=season)
    noise = np.random.default_rng(2).normal(size=400) * 0.01
    walk = np.random.default_rng(3).normal(size=400).cumsum() * (5 if season == 1 else 0)
    label = (np.tile(pattern, 400)[:400] + noise + walk).astype(np.float32)
    cutting = spec(window=20, horizon=6)
    assert find_season(label, np.arange(300), cutting) == season


def test_large_splits_come_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_BATCH_BYTES", 100)
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    found = list(windows.batches(values, np.arange(16), spec(), label="y"))
    assert len(found) > 2
    whole = cut(values, np.arange(16), spec(), label="y")
    for name, column in whole.items():
        np.testing.assert_array_equal(np.concatenate([batch[name] for batch in found]), column)
    assert whole[HISTORY].shape == (16, 3, 2)
    assert whole["y"][0].tolist() == [6, 8]
