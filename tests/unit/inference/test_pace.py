"""What is known of a model's speed, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_inference.pace import Pace


def test_nothing_is_known_at_first() -> None:
    pace = Pace()
    assert pace.run_seconds(1, now=0) == 0
    assert pace.answer_seconds(1, ahead=9, running=1, elapsed=9.0, now=0) == 0
    assert pace.backlog_seconds(1000, now=0) == 0


def test_the_first_run_counts_whole() -> None:
    pace = Pace(full=10)
    pace.observe(10, 0.5, now=1)
    assert pace.run_seconds(10, now=1) == pytest.approx(0.5)
    assert pace.backlog_seconds(40, now=1) == pytest.approx(2)


def test_one_slow_run_does_not_decide() -> None:
    pace = Pace()
    for number in range(10):
        pace.observe(10, 0.1, now=number / 10)
    before = pace.run_seconds(10, now=1)
    pace.observe(10, 1.0, now=1)
    assert before == pytest.approx(0.1)
    assert pace.run_seconds(10, now=1) < 0.5


def test_a_slow_run_is_forgotten_with_all_that_follows_from_it() -> None:
    pace = Pace(full=4)
    pace.observe(4, 0.02, now=0.0)
    pace.observe(4, 2.0, now=0.5)
    pace.observe(4, 0.02, now=20.0)
    assert pace.run_seconds(4, now=20.0) == pytest.approx(0.02)
    # Otherwise whatever comes would count as late, and no run would ever tell that it is not.
    assert pace.answer_seconds(1, ahead=0, running=0, elapsed=0.0, now=20.0) == pytest.approx(0.02)


def test_old_figures_are_forgotten() -> None:
    pace = Pace()
    pace.observe(1, 0.1, now=0)
    assert pace.run_seconds(1, now=0.9) == pytest.approx(0.1)
    assert pace.run_seconds(1, now=1.1) == 0
    pace.observe(1, 5.0, now=2)
    assert pace.run_seconds(1, now=20) == pytest.approx(5.0), "a slow model has fewer runs to go by"


def ran(pace: Pace, *runs: tuple[int, float]) -> float:
    """Lets it observe runs of so many records and seconds, and gives the time after them."""
    now = 0.0
    for records, seconds in runs:
        now += seconds
        pace.observe(records, seconds, now=now)
    return now


def test_larger_batches_take_longer_by_what_their_records_take() -> None:
    pace = Pace(full=32)
    now = ran(pace, *[(records, 0.02 + 0.001 * records) for records in (1, 4, 2, 8, 3, 1, 5)])
    assert pace.run_seconds(1, now=now) == pytest.approx(0.021, rel=0.2)
    assert pace.run_seconds(32, now=now) == pytest.approx(0.052, rel=0.2)


def test_what_a_record_takes_is_forgotten_where_nothing_shows_it() -> None:
    """So a model that was thought to be slow with larger batches is given some again."""
    pace = Pace(full=32)
    ran(pace, *[(records, 0.01 * records) for records in (1, 2, 3, 4, 1)])
    now = ran(pace, *[(1, 0.01)] * 200)
    assert pace.run_seconds(32, now=now) < 0.02


def test_time_between_runs_counts_while_requests_wait() -> None:
    pace = Pace(full=8)
    pace.observe(8, 0.001, now=1.0, period=0.003)
    assert pace.run_seconds(8, now=1.0) == pytest.approx(0.003)
    assert pace.least_seconds(8) == 0.001, "but not as what a run takes"


def test_an_answer_waits_for_what_runs_and_all_batches_before_it() -> None:
    pace = Pace(full=4)
    now = ran(pace, *[(4, 0.01)] * 50)
    answer = pace.answer_seconds
    assert answer(1, ahead=0, running=0, elapsed=0.0, now=now) == pytest.approx(0.01)
    assert answer(1, ahead=0, running=4, elapsed=0.004, now=now) == pytest.approx(0.016)
    assert answer(1, ahead=9, running=4, elapsed=0.004, now=now) == pytest.approx(0.036)


def test_instances_share_what_waits() -> None:
    pace = Pace(full=4, instances=2)
    now = ran(pace, *[(4, 0.01)] * 50)
    assert pace.answer_seconds(1, ahead=8, running=0, elapsed=0.0, now=now) == pytest.approx(0.02)
    assert pace.backlog_seconds(8, now=now) == pytest.approx(0.01)


def test_a_run_that_lasts_too_long_is_not_taken_to_be_nearly_done() -> None:
    pace = Pace(full=4)
    now = ran(pace, *[(4, 0.01)] * 50)
    stuck = pace.answer_seconds(1, ahead=0, running=4, elapsed=0.05, now=now + 0.05)
    assert stuck == pytest.approx(0.05)


def test_runs_that_differ_make_it_cautious() -> None:
    steady, unsteady = Pace(full=4), Pace(full=4)
    now = ran(steady, *[(4, 0.01)] * 40)
    ran(unsteady, *[(4, 0.005), (4, 0.015)] * 20)
    expected = steady.answer_seconds(1, ahead=0, running=0, elapsed=0.0, now=now)
    assert unsteady.answer_seconds(1, ahead=0, running=0, elapsed=0.0, now=now) > 1.5 * expected


seconds = st.floats(1e-5, 1.0)


@given(
    runs=st.lists(st.tuples(st.integers(1, 64), seconds), min_size=1, max_size=20),
    full=st.integers(1, 64),
    instances=st.integers(1, 4),
    records=st.integers(1, 100),
    others=st.integers(0, 500),
    share=st.floats(0, 1),
    running=st.integers(0, 64),
    elapsed=st.floats(0, 2),
)
def test_the_quick_bound_is_one(
    runs: list[tuple[int, float]],
    full: int,
    instances: int,
    records: int,
    others: int,
    share: float,
    running: int,
    elapsed: float,
) -> None:
    """Whatever the runs were: no request that the full estimate refuses passes by the quick one."""
    pace = Pace(full=full, instances=instances)
    now = ran(pace, *runs)
    elapsed = elapsed if running else 0.0
    estimate = pace.answer_seconds(
        records, ahead=int(share * others), running=running, elapsed=elapsed, now=now
    )
    assert 0 < estimate <= 1.000001 * pace.longest_seconds(records + others + running, elapsed=elapsed)
    assert pace.run_seconds(records, now=now) > 0


def test_one_large_request_does_not_stand_for_the_batches_that_follow() -> None:
    pace = Pace(full=4)
    now = ran(pace, *[(4, 0.01)] * 50, (400, 1.0))
    longest = pace.answer_seconds(4, ahead=0, running=0, elapsed=0.0, now=now)
    assert pace.answer_seconds(1, ahead=0, running=0, elapsed=0.0, now=now) == longest
