"""What a study's trials say of it."""

import math

import pytest

from lepton_common.errors import InvalidModel, WrongState
from lepton_trainer.study import (
    Search,
    Trial,
    TrialState,
    best,
    best_values,
    hopeless,
    is_over,
    kept_value,
    wanted,
    without_value,
)

SEARCH = Search(space={}, trials=5, parallel=2)
HIGHEST = Search(space={}, trials=5, maximize=True)


def trial(number: int, state: str, value: float | None = None, reason: str = "INVALID_MODEL") -> Trial:
    failed = state == "FAILED"
    return Trial(
        number=number,
        state=TrialState(state),
        value=value,
        reason=reason if failed else "",
        message="the training diverges" if failed else "",
    )


MIXED = [trial(1, "SUCCEEDED", 0.5), trial(2, "PRUNED", 0.1), trial(3, "SUCCEEDED", 0.7), trial(4, "FAILED")]


def test_the_best_is_among_those_that_succeeded() -> None:
    lowest, highest = best(SEARCH, MIXED), best(HIGHEST, MIXED)
    assert lowest is not None and highest is not None
    assert (lowest.number, highest.number) == (1, 3)
    assert best(SEARCH, [trial(1, "FAILED"), trial(2, "RUNNING")]) is None


def test_of_equals_the_first_is_the_best() -> None:
    found = best(SEARCH, [trial(1, "SUCCEEDED", 0.5), trial(2, "SUCCEEDED", 0.5)])
    assert found is not None and found.number == 1


def test_the_best_so_far_only_gets_better() -> None:
    assert best_values(SEARCH, MIXED) == [(1, 0.5, 0.5), (3, 0.7, 0.5)]
    assert best_values(HIGHEST, MIXED) == [(1, 0.5, 0.5), (3, 0.7, 0.7)]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], 2),
        (["RUNNING"], 1),
        (["RUNNING", "RUNNING"], 0),
        (["SUCCEEDED", "PRUNED", "FAILED", "CANCELLED"], 1),
        (["SUCCEEDED"] * 5, 0),
    ],
    ids=str,
)
def test_as_many_trials_are_begun_as_may_run_at_once(states: list[str], expected: int) -> None:
    assert wanted(SEARCH, [trial(place + 1, state) for place, state in enumerate(states)]) == expected


def test_it_is_over_when_all_trials_have_ended() -> None:
    ended = [*MIXED, trial(5, "CANCELLED")]
    assert is_over(SEARCH, ended)
    assert not is_over(SEARCH, MIXED)
    assert not is_over(SEARCH, [*MIXED, trial(5, "RUNNING")])


def test_it_is_hopeless_when_the_first_three_failed_for_one_reason() -> None:
    failed = [trial(number, "FAILED") for number in range(1, 4)]
    error = hopeless(SEARCH, failed)
    assert isinstance(error, InvalidModel)
    assert error.message == "all of the first 3 trials failed: the training diverges"
    assert hopeless(SEARCH, failed[:2]) is None
    assert hopeless(SEARCH, [*failed[:2], trial(3, "FAILED", reason="SCHEMA_VIOLATION")]) is None
    assert hopeless(SEARCH, [trial(1, "SUCCEEDED", 0.5), *failed[1:], trial(4, "FAILED")]) is None
    assert hopeless(SEARCH, [*failed[:2], trial(3, "RUNNING")]) is None


def test_without_a_value_it_is_said_why() -> None:
    assert isinstance(without_value([]), WrongState)
    assert "the training diverges" in without_value([trial(1, "PRUNED"), trial(2, "FAILED")]).message


POINTS = [(1, 0.9), (2, 0.4), (3, 0.6), (4, math.nan)]


@pytest.mark.parametrize(
    ("search", "epoch", "expected"),
    [(SEARCH, 3, (3, 0.6)), (SEARCH, 0, (2, 0.4)), (HIGHEST, 0, (1, 0.9)), (SEARCH, 4, None)],
    ids=["kept epoch", "least", "greatest", "no number"],
)
def test_a_trial_counts_with_what_its_model_has(
    search: Search, epoch: int, expected: tuple[int, float] | None
) -> None:
    assert kept_value(search, POINTS, epoch) == expected
