"""Sums of what is spent, and what is left."""

import pytest

from lepton_common.errors import PrivacyBudgetExceeded
from lepton_trainer.budget import Cost, check_budget, left_of, total


def test_costs_add_up() -> None:
    assert total([Cost(epsilon=1, delta=1e-5), Cost(epsilon=0.5)]) == Cost(epsilon=1.5, delta=1e-5)
    assert total([]) == Cost()


@pytest.mark.parametrize(
    ("spent", "asked"),
    [
        pytest.param(Cost(), Cost(epsilon=1.0, delta=1e-5), id="all of it at once"),
        pytest.param(Cost(epsilon=0.6, delta=4e-6), Cost(epsilon=0.4, delta=6e-6), id="what is left"),
        pytest.param(Cost(epsilon=0.7 + 0.2), Cost(epsilon=0.1), id="but for rounding"),
    ],
)
def test_what_is_within_the_budget_is_allowed(spent: Cost, asked: Cost) -> None:
    check_budget("datasets/d", Cost(epsilon=1.0, delta=1e-5), spent=spent, asked=asked)


def test_more_than_is_left_is_refused_with_how_much_is() -> None:
    with pytest.raises(PrivacyBudgetExceeded) as caught:
        check_budget("datasets/d", Cost(epsilon=10), spent=Cost(epsilon=7.25), asked=Cost(epsilon=3))
    assert caught.value.message == (
        "the privacy budget of 'datasets/d' does not allow it: epsilon 3 is asked for and 2.75 of 10 is left"
    )
    assert caught.value.metadata == {
        "dataset": "datasets/d",
        "epsilon_asked": "3",
        "epsilon_spent": "7.25",
        "epsilon_left": "2.75",
    }


def test_a_budget_of_delta_counts_where_there_is_one() -> None:
    spent, asked = Cost(epsilon=1, delta=9e-6), Cost(epsilon=1, delta=2e-6)
    check_budget("datasets/d", Cost(epsilon=10), spent=spent, asked=asked)
    with pytest.raises(PrivacyBudgetExceeded, match="delta 2e-06 and 1e-06 of 1e-05"):
        check_budget("datasets/d", Cost(epsilon=10, delta=1e-5), spent=spent, asked=asked)


def test_what_is_left_is_never_less_than_nothing() -> None:
    assert left_of(Cost(epsilon=1), Cost(epsilon=2, delta=0.1)) == Cost()
