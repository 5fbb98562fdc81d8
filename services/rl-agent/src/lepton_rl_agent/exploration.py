"""How an agent chooses between what seems best and what it has not tried.

A rule turns action values into the probability of each action. Whoever chooses draws from exactly
these probabilities and can say with which one it chose: what is learned from a log later rests on it.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Softmax:
    """`pi(a|s) = exp(Q(s,a)/T) / sum_b exp(Q(s,b)/T)`: a high temperature T explores."""

    temperature: float


@dataclass(frozen=True)
class EpsilonGreedy:
    """Any action, drawn evenly, with probability epsilon; else the best."""

    epsilon: float


Exploration: TypeAlias = Softmax | EpsilonGreedy


def probabilities(values: ArrayLike, rule: Exploration) -> NDArray[np.float64]:
    """Return the probability of each action under a rule.

    Args:
        values: finite action values, `[..., actions]`.
        rule: how to choose. Among equal values, epsilon-greedy takes the first as the best.

    Returns:
        Probabilities of the same shape; they sum to 1 along the last axis.
    """
    q = np.asarray(values, dtype=np.float64)
    if isinstance(rule, Softmax):
        # The largest exponent is 0, so the sum is at least 1; a tiny temperature may make others -inf.
        with np.errstate(over="ignore"):
            weights = np.exp((q - q.max(axis=-1, keepdims=True)) / rule.temperature)
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
    actions = q.shape[-1]
    best = np.arange(actions) == q.argmax(axis=-1)[..., np.newaxis]
    return np.asarray(rule.epsilon / actions + (1.0 - rule.epsilon) * best)


def draw(probabilities: NDArray[np.float64], uniform: float) -> int:
    """Return the action that a number drawn evenly from [0, 1) stands for.

    Args:
        probabilities: one per action, summing to 1.
        uniform: the random number.
    """
    cumulative = probabilities.cumsum()
    # Scaled by the sum as it is in floating point, so that the last place is never overshot; an
    # action of probability 0 spans nothing and is never returned.
    return int(cumulative.searchsorted(uniform * cumulative[-1], side="right"))
