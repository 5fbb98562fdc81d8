"""A series stays short and keeps its ends."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_common.jobs.series import MAX_POINTS, Series


@pytest.mark.parametrize("count", [0, 1, 2, 511, 512, 513, 1023, 1024, 1025, 100_000])
def test_a_series_is_thinned_evenly_and_keeps_its_ends(count: int) -> None:
    points = Series((step, step / 2) for step in range(count)).points()
    steps = [step for step, _ in points]
    assert len(points) <= MAX_POINTS
    assert points == [(step, step / 2) for step in steps]
    if count:
        assert (steps[0], steps[-1]) == (0, count - 1)
    if count <= MAX_POINTS:
        assert len(points) == count
    else:
        assert len(points) >= MAX_POINTS // 2
        gaps = {after - before for before, after in pairwise(steps[:-1])}
        assert len(gaps) == 1, "all but the last point lie equally far apart"


def test_a_step_measured_again_replaces_what_came_after_it() -> None:
    series = Series([(1, 0.9), (2, 0.8), (3, 0.7)])
    series.add(2, 0.5)
    assert series.points() == [(1, 0.9), (2, 0.5)]


@given(st.lists(st.integers(min_value=0, max_value=3000), max_size=2000))
def test_whatever_is_added_the_steps_rise_and_the_last_one_is_there(steps: list[int]) -> None:
    series = Series()
    for step in steps:
        series.add(step, float(step))
    found = [step for step, _ in series.points()]
    assert found == sorted(set(found))
    assert len(found) <= MAX_POINTS
    assert found[-1:] == steps[-1:]
