"""What private trainings spend, and how much noise keeps them to it."""

import dp_accounting
import pytest
from dp_accounting import pld

from lepton_common.errors import InvalidField
from lepton_learn.recipe import Privacy
from lepton_trainer.accounting import LEAST_NOISE, course_of, epsilon, least_noise, settle

DIGITS = course_of(records=1437, batch_size=64, epochs=10, delta=0)


def by_the_library(noise: float, probability: float, steps: int, delta: float) -> float:
    """The figure of dp-accounting for Poisson samples and Gaussian noise, as its documentation has it."""
    accountant = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(
        dp_accounting.PoissonSampledDpEvent(probability, dp_accounting.GaussianDpEvent(noise)), steps
    )
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize(
    ("records", "batch_size", "epochs", "noise", "probability", "steps"),
    [
        pytest.param(1437, 64, 10, 1.0, 64 / 1437, 230, id="digits"),
        pytest.param(60_000, 256, 15, 1.3, 256 / 60_000, 3525, id="fashion-mnist"),
        pytest.param(100, 64, 3, 4.0, 0.64, 6, id="a batch of more than half"),
        pytest.param(100, 500, 3, 4.0, 1.0, 3, id="a batch of all"),
    ],
)
def test_epsilon_is_the_figure_of_dp_accounting(
    records: int, batch_size: int, epochs: int, noise: float, probability: float, steps: int
) -> None:
    settled = settle(Privacy(noise_multiplier=noise), records=records, batch_size=batch_size, epochs=epochs)
    assert settled.delta == 1 / (10 * records)
    assert settled.epsilon == by_the_library(noise, probability, steps, settled.delta)
    assert settled.noise_multiplier == noise


@pytest.mark.parametrize("most", [0.2, 2.0])
def test_the_noise_is_the_least_that_keeps_to_epsilon(most: float) -> None:
    noise = least_noise(DIGITS, most)
    assert epsilon(DIGITS, noise) <= most
    assert epsilon(DIGITS, noise * 0.995) > most


def test_no_less_noise_is_chosen_than_may_be_asked_for() -> None:
    course = course_of(records=10, batch_size=1, epochs=1, delta=0.1)
    assert least_noise(course, 100) == LEAST_NOISE
    assert epsilon(course, LEAST_NOISE) < 99


def test_what_was_settled_can_be_asked_for_again() -> None:
    settled = settle(Privacy(epsilon=1.0, clip_norm=0.5), records=1437, batch_size=64, epochs=10)
    assert 0.98 < settled.epsilon <= 1.0
    assert settled.clip_norm == 0.5
    assert settle(settled, records=1437, batch_size=64, epochs=10) == settled


@pytest.mark.parametrize(
    ("privacy", "text"),
    [
        pytest.param(
            Privacy(noise_multiplier=1.0, epsilon=0.5), "epsilon: must be at least", id="too little"
        ),
        pytest.param(Privacy(noise_multiplier=0.25), "noise_multiplier: must be more", id="no promise"),
        pytest.param(Privacy(epsilon=1e-7), "epsilon: must be more", id="no noise is enough"),
    ],
)
def test_what_cannot_be_kept_is_refused(privacy: Privacy, text: str) -> None:
    with pytest.raises(InvalidField, match=text):
        settle(privacy, records=1437, batch_size=64, epochs=100)


def test_a_training_that_is_as_long_as_may_be_is_accounted_for() -> None:
    settled = settle(Privacy(epsilon=4.0), records=100_000, batch_size=64, epochs=1000)
    assert 3.9 < settled.epsilon <= 4.0
