"""Which trials are given up, by known courses."""

import math

import pytest

from lepton_trainer.pruning import Course, Median, Pruner, SuccessiveHalving, gives_up


def level(cost: float, epochs: int) -> Course:
    """A trial that costs the same at every epoch."""
    return [(epoch, cost) for epoch in range(1, epochs + 1)]


GOOD = {number: level(number / 10, 9) for number in range(1, 6)}
"""Five trials that cost 0.1 to 0.5: their median is 0.3."""


@pytest.mark.parametrize(
    ("cost", "expected"), [(0.2, False), (0.3, False), (0.31, True), (9.0, True)], ids=str
)
def test_the_median_of_the_others_is_the_bar(cost: float, expected: bool) -> None:
    courses = {**GOOD, 6: level(cost, 2)}
    assert gives_up(Median(), 6, courses, succeeded=[*GOOD]) is expected


def test_nothing_is_given_up_before_enough_have_succeeded_or_in_the_warm_up() -> None:
    courses = {**GOOD, 6: level(9.0, 2)}
    assert not gives_up(Median(), 6, courses, succeeded=[1, 2, 3, 4])
    assert not gives_up(Median(warmup_epochs=2), 6, courses, succeeded=[*GOOD])
    assert not gives_up(Median(), 7, courses, succeeded=[*GOOD])
    courses[6] = level(9.0, 3)
    assert gives_up(Median(warmup_epochs=2), 6, courses, succeeded=[*GOOD])


def test_a_trial_is_compared_at_the_epoch_that_it_has_come_to() -> None:
    falling = {number: [(1, 1.0), (2, 0.5), (3, 0.1)] for number in range(1, 6)}
    assert not gives_up(Median(), 6, {**falling, 6: [(1, 0.9)]}, succeeded=[*falling])
    assert gives_up(Median(), 6, {**falling, 6: [(1, 0.9), (2, 0.9)]}, succeeded=[*falling])


def test_one_that_got_worse_after_a_good_epoch_counts_with_its_best() -> None:
    assert not gives_up(Median(), 6, {**GOOD, 6: [(1, 0.05), (2, 9.0)]}, succeeded=[*GOOD])


def test_one_in_three_goes_on_at_each_rung() -> None:
    pruner = SuccessiveHalving(min_epochs=1, reduction_factor=3)
    courses = {number: level(number / 10, 1) for number in range(1, 6)}
    # Against five that came to the first rung, two of six go on.
    assert not gives_up(pruner, 6, {**courses, 6: level(0.15, 1)}, succeeded=[])
    assert gives_up(pruner, 6, {**courses, 6: level(0.25, 1)}, succeeded=[])
    # At the second rung are only those that went on.
    courses |= {1: level(0.1, 3), 6: level(0.15, 3)}
    assert gives_up(pruner, 6, courses, succeeded=[])
    assert not gives_up(pruner, 1, courses, succeeded=[])


def test_the_first_to_come_to_a_rung_goes_on_and_later_ones_do_not_end_it() -> None:
    pruner = SuccessiveHalving()
    assert not gives_up(pruner, 1, {1: level(5.0, 1)}, succeeded=[])
    assert not gives_up(pruner, 1, {1: level(5.0, 2), 2: level(0.1, 2), 3: level(0.2, 2)}, succeeded=[])


def test_brackets_begin_later_and_do_not_compare() -> None:
    pruner = SuccessiveHalving(brackets=2)
    courses = {1: level(0.1, 2), 2: level(0.2, 2), 3: level(0.3, 2), 4: level(0.4, 2)}
    # Odd numbers begin at epoch 3.
    assert not gives_up(pruner, 3, courses, succeeded=[])
    assert gives_up(pruner, 4, courses, succeeded=[])
    assert gives_up(pruner, 3, {**courses, 1: level(0.1, 3), 3: level(0.3, 3)}, succeeded=[])


@pytest.mark.parametrize("pruner", [Median(), SuccessiveHalving()], ids=lambda each: type(each).__name__)
def test_what_is_no_number_any_more_is_given_up_at_once(pruner: Pruner) -> None:
    assert gives_up(pruner, 1, {1: [(1, 0.1), (2, math.nan)]}, succeeded=[])
    assert not gives_up(pruner, 1, {1: [(1, math.nan), (2, 0.1)]}, succeeded=[])
