"""From action values to the probability of each action."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lepton_rl_agent.exploration import EpsilonGreedy, Exploration, Softmax, draw, probabilities

VALUES = st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=8).map(np.array)
MODEST = st.lists(st.floats(-50, 50), min_size=1, max_size=8).map(np.array)
TEMPERATURES = st.floats(1e-300, 1e6)
RULES = TEMPERATURES.map(Softmax) | st.floats(0, 1).map(EpsilonGreedy)


@given(VALUES, RULES)
def test_they_are_probabilities_whatever_the_values(values: NDArray[np.float64], rule: Exploration) -> None:
    found = probabilities(values, rule)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1)


@given(VALUES, RULES)
def test_the_best_action_is_the_most_likely_one(values: NDArray[np.float64], rule: Exploration) -> None:
    found = probabilities(values, rule)
    assert found[values.argmax()] == found.max()


@given(MODEST, st.floats(0.5, 100))
def test_softmax_is_what_the_formula_says(values: NDArray[np.float64], temperature: float) -> None:
    weights = np.exp(values / temperature)
    assert probabilities(values, Softmax(temperature)) == pytest.approx(weights / weights.sum())


@given(MODEST, st.floats(0.5, 100), st.floats(-50, 50))
def test_softmax_looks_at_differences_alone(
    values: NDArray[np.float64], temperature: float, shift: float
) -> None:
    rule = Softmax(temperature)
    assert probabilities(values + shift, rule) == pytest.approx(probabilities(values, rule), abs=1e-9)


def test_a_low_temperature_takes_the_best_and_a_high_one_anything() -> None:
    values = [1.0, 2.0, 3.0]
    assert probabilities(values, Softmax(1e-3)).tolist() == [0, 0, 1]
    assert probabilities(values, Softmax(1e6)) == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_epsilon_is_shared_by_all_actions_and_the_rest_is_the_best_ones() -> None:
    assert probabilities([5.0, 7.0, 7.0, 1.0], EpsilonGreedy(0.2)) == pytest.approx([0.05, 0.85, 0.05, 0.05])


def test_each_row_of_a_batch_is_on_its_own() -> None:
    batch = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert probabilities(batch, EpsilonGreedy(0.0)).tolist() == [[0, 1], [1, 0]]


@given(MODEST, RULES, st.floats(0, 1, exclude_max=True))
def test_an_action_of_probability_zero_is_never_drawn(
    values: NDArray[np.float64], rule: Exploration, uniform: float
) -> None:
    chances = probabilities(values, rule)
    assert chances[draw(chances, uniform)] > 0


def test_actions_are_drawn_as_often_as_their_probabilities_say() -> None:
    chances = np.array([0.1, 0.0, 0.6, 0.3])
    drawn = [draw(chances, uniform) for uniform in np.random.default_rng(0).random(20_000)]
    assert np.bincount(drawn, minlength=4) / 20_000 == pytest.approx(chances, abs=0.01)
