"""What a private training spends, and how much noise it takes to spend no more than so much.

A training is `steps` Gaussian mechanisms, each on a Poisson sample of the records, under adding or removing
one record. Google's dp-accounting composes their privacy loss distributions: Koskela et al., 2020; Doroshenko
et al., 2022. That is tight up to a grid that errs on the safe side. Its Renyi accountant, Mironov et al.,
2019, is looser and quick: it says where to search.

The library takes a second to load, so that is done when the first private training comes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lepton_common.errors import FieldViolation, InvalidField
from lepton_learn.recipe import Privacy

if TYPE_CHECKING:
    import dp_accounting

LEAST_NOISE = 0.25
"""Least noise multiplier: with less, the accountant takes long to say that nothing is promised."""

MOST_EPSILON = 100.0
"""Largest epsilon that is worth the name."""

_BEYOND = 5 * MOST_EPSILON
_MOST_NOISE = 1e4
_TOLERANCE = 1e-3
"""How far the noise may be from the least that would do."""
_RENYI_ORDERS = (*range(2, 20), 24, 32, 48, 64, 96, 128, 256, 512)
_NEAR = 1.02
"""How near the Renyi accountant is searched."""
_LOOSENESS = 0.85
"""What it may be loose by, as a rule."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What of a training decides what it spends, besides the noise.

    Attributes:
        sampling_probability: Chance of a record to be in a step's batch.
        steps: How many steps there are.
        delta: Chance that the promise does not hold.
    """

    sampling_probability: float
    steps: int
    delta: float


def course_of(*, records: int, batch_size: int, epochs: int, delta: float) -> Course:
    """The course of a training on so many records; a delta of 0 is 1 / (10 x records)."""
    expected = min(batch_size, records)
    return Course(
        sampling_probability=expected / records,
        steps=epochs * -(-records // expected),
        delta=delta or 1 / (10 * records),
    )


def epsilon(course: Course, noise_multiplier: float) -> float:
    """What a training with this noise spends.

    Raises:
        InvalidField: It is more than `MOST_EPSILON`.
    """
    # The tighter accountant takes long, and much memory, where there is nothing worth knowing.
    spent = _spent(_renyi(), course, noise_multiplier)
    if spent < _BEYOND:
        spent = _spent(_distribution(), course, noise_multiplier)
    if spent > MOST_EPSILON:
        raise _refusal("noise_multiplier", f"must be more: epsilon would be more than {MOST_EPSILON:g}")
    return spent


def least_noise(course: Course, most: float) -> float:
    """The noise multiplier, at least `LEAST_NOISE`, with which a training spends `most` or hardly less.

    Raises:
        InvalidField: No noise is enough.
    """
    import dp_accounting

    def enough(noise: float) -> bool:
        return _spent(_renyi(), course, noise) <= most

    if enough(LEAST_NOISE):
        return LEAST_NOISE
    low, high = LEAST_NOISE, 2 * LEAST_NOISE
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST_NOISE:
            raise _refusal(
                "epsilon", f"must be more: {most:g} takes more noise than leaves anything to learn"
            )
    while high > low * _NEAR:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    # What is enough by the looser of the two is enough by the tighter one, and hardly too much.
    low = high
    while _spent(_distribution(), course, low) <= most:
        if low == LEAST_NOISE:
            return low
        low, high = max(LEAST_NOISE, low * _LOOSENESS), low
    found: float = dp_accounting.calibrate_dp_mechanism(
        _distribution,
        lambda noise: _event(course, noise),
        most,
        course.delta,
        bracket_interval=dp_accounting.ExplicitBracketInterval(low, high),
        tol=_TOLERANCE,
    )
    return found


def settle(privacy: Privacy, *, records: int, batch_size: int, epochs: int) -> Privacy:
    """Return what is asked for with nothing left open: its noise, its delta, and what it spends.

    Raises:
        InvalidField: What is asked for cannot be kept to, or spends more than `MOST_EPSILON`.
    """
    course = course_of(records=records, batch_size=batch_size, epochs=epochs, delta=privacy.delta)
    noise = privacy.noise_multiplier or least_noise(course, privacy.epsilon)
    spent = epsilon(course, noise)
    if privacy.epsilon and spent > privacy.epsilon:
        raise _refusal(
            "epsilon", f"must be at least {spent:.6g}, which a noise_multiplier of {noise:g} spends"
        )
    return replace(privacy, noise_multiplier=noise, epsilon=spent, delta=course.delta)


def _spent(accountant: Any, course: Course, noise_multiplier: float) -> float:
    accountant.compose(_event(course, noise_multiplier))
    return float(accountant.get_epsilon(course.delta))


def _event(course: Course, noise_multiplier: float) -> dp_accounting.DpEvent:
    import dp_accounting

    step = dp_accounting.PoissonSampledDpEvent(
        course.sampling_probability, dp_accounting.GaussianDpEvent(noise_multiplier)
    )
    return dp_accounting.SelfComposedDpEvent(step, course.steps)


def _renyi() -> Any:
    from dp_accounting import rdp

    return rdp.RdpAccountant(_RENYI_ORDERS)


def _distribution() -> Any:
    from dp_accounting import pld

    return pld.PLDAccountant()


def _refusal(field: str, description: str) -> InvalidField:
    path = f"training_job.spec.privacy.{field}"
    return InvalidField(f"{path}: {description}", violations=[FieldViolation(path, description)])
