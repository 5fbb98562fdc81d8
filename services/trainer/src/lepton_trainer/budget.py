"""Budgets of privacy: what trainings on one dataset may tell of a record together.

Costs add up: of mechanisms that are (epsilon_i, delta_i)-differentially private, all together are
(sum epsilon_i, sum delta_i)-differentially private, also where one was chosen by the outcome of another:
Dwork and Roth, 2014, theorem 3.16.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lepton_common.errors import PrivacyBudgetExceeded

_ROUNDING = 1e-9
"""Share of a budget that sums of floating-point numbers may miss it by."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Epsilon and delta: what is spent, or may be."""

    epsilon: float = 0.0
    """Bound of the log of the ratio of chances."""
    delta: float = 0.0
    """Chance that the bound does not hold; of a budget, 0 does not limit it."""


def total(costs: Iterable[Cost]) -> Cost:
    """What all spend together."""
    listed = list(costs)
    return Cost(
        epsilon=math.fsum(cost.epsilon for cost in listed), delta=math.fsum(cost.delta for cost in listed)
    )


def check_budget(dataset: str, budget: Cost, *, spent: Cost, asked: Cost) -> None:
    """Refuse what would spend more than is left.

    Raises:
        PrivacyBudgetExceeded: Says how much is asked for, spent and left.
    """
    together = total([spent, asked])
    within = 1 + _ROUNDING
    if together.epsilon <= budget.epsilon * within and (
        not budget.delta or together.delta <= budget.delta * within
    ):
        return
    left = left_of(budget, spent)
    parts = [
        f"epsilon {asked.epsilon:.4g} is asked for and {left.epsilon:.4g} of {budget.epsilon:.4g} is left"
    ]
    metadata = {
        "dataset": dataset,
        "epsilon_asked": repr(asked.epsilon),
        "epsilon_spent": repr(spent.epsilon),
        "epsilon_left": repr(left.epsilon),
    }
    if budget.delta:
        parts.append(f"delta {asked.delta:.4g} and {left.delta:.4g} of {budget.delta:.4g}")
        metadata |= {
            "delta_asked": repr(asked.delta),
            "delta_spent": repr(spent.delta),
            "delta_left": repr(left.delta),
        }
    raise PrivacyBudgetExceeded(
        f"the privacy budget of {dataset!r} does not allow it: {', '.join(parts)}", metadata=metadata
    )


def left_of(budget: Cost, spent: Cost) -> Cost:
    """What is left of a budget."""
    return Cost(epsilon=max(0.0, budget.epsilon - spent.epsilon), delta=max(0.0, budget.delta - spent.delta))
