"""What is known of a model's speed, and for how long."""

import pytest

from lepton_inference.pace import Pace


def test_nothing_is_known_at_first() -> None:
    pace = Pace()
    assert pace.run_seconds(now=0) == 0
    assert pace.backlog_seconds(1000, now=0) == 0


def test_the_first_run_counts_whole() -> None:
    pace = Pace()
    pace.observe(10, 0.5, now=1)
    assert pace.run_seconds(now=1) == 0.5
    assert pace.backlog_seconds(40, now=1) == pytest.approx(2)


def test_one_slow_run_does_not_decide() -> None:
    pace = Pace()
    for number in range(10):
        pace.observe(10, 0.1, now=number / 10)
    pace.observe(10, 1.0, now=1)
    assert pace.run_seconds(now=1) == pytest.approx(0.28)


def test_old_figures_are_forgotten() -> None:
    pace = Pace()
    pace.observe(1, 0.1, now=0)
    assert pace.run_seconds(now=0.9) == 0.1
    assert pace.run_seconds(now=1.1) == 0
    pace.observe(1, 5.0, now=2)
    assert pace.run_seconds(now=20) == 5.0, "a slow model has fewer runs to go by"
