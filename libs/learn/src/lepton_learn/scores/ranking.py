"""How well a probability puts the records of a class before the others, whatever threshold one takes.

Fawcett, An Introduction to ROC Analysis, 2006.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What a threshold does, from one that nothing reaches to one that all do; every array is [points]."""

    thresholds: NDArray[np.float64]
    """A record is told to be positive from this probability on. The first is infinite."""
    true_positives: NDArray[np.int64]
    """Positive records that are told so."""
    false_positives: NDArray[np.int64]
    """Negative records that are told to be positive."""

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the positive records that are told so: the true positive rate, y of the ROC curve."""
        rate: NDArray[np.float64] = self.true_positives / self.true_positives[-1]
        return rate

    @property
    def false_positive_rate(self) -> NDArray[np.float64]:
        """Share of the negative records that are told to be positive: x of the ROC curve."""
        rate: NDArray[np.float64] = self.false_positives / self.false_positives[-1]
        return rate

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of those told to be positive that are; 1 where none is told."""
        told = self.true_positives + self.false_positives
        return np.where(told > 0, self.true_positives / np.maximum(told, 1), 1.0)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall."""
        told = self.true_positives + self.false_positives
        score: NDArray[np.float64] = 2 * self.true_positives / (told + self.true_positives[-1])
        return score

    @property
    def area(self) -> float:
        """The area below the ROC curve: how often a positive record has more than a negative one."""
        return float(np.trapezoid(self.recall, self.false_positive_rate))

    @property
    def average_precision(self) -> float:
        """The precision at each threshold, weighted by the recall that it adds."""
        return float((np.diff(self.recall) * self.precision[1:]).sum())

    @property
    def best_f1(self) -> int:
        """The point of the best balance between precision and recall."""
        return int(self.f1.argmax())

    @property
    def best_youden(self) -> int:
        """The point farthest above chance: Youden, 1950."""
        return int((self.recall - self.false_positive_rate).argmax())


def rank(positive: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> Ranking | None:
    """Rank records [n] by the probability [n] that they are positive.

    Returns:
        One point for each probability that occurs, and one before; None if all records or none are positive,
        where there is nothing to be told apart.
    """
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order].astype(np.float64), np.cumsum(positive[order])
    # Records of one probability are on the same side of every threshold.
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return Ranking(
        thresholds=np.concatenate([[np.inf], ranked[last]]),
        true_positives=np.concatenate([[0], hits[last]]),
        false_positives=np.concatenate([[0], last + 1 - hits[last]]),
    )


def drawn(ranking: Ranking, *, most: int) -> NDArray[np.int64]:
    """The points, at most `most` of them, that a curve is drawn through: evenly along it, with both ends.

    Points on a straight piece of the ROC curve are left out first, except the best ones.
    """
    rises, runs = np.diff(ranking.true_positives), np.diff(ranking.false_positives)
    bends = np.flatnonzero(rises[1:] * runs[:-1] != rises[:-1] * runs[1:]) + 1
    places = np.concatenate([[0], bends, [len(ranking.thresholds) - 1]])
    if len(places) > most - 2:
        places = places[np.linspace(0, len(places) - 1, most - 2).round().astype(np.int64)]
    return np.unique([*places, ranking.best_f1, ranking.best_youden])
