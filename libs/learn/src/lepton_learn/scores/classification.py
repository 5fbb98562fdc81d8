"""How often a classifier is right: over all, by class, and which classes it takes for which."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""A right class that was given less counts as given this much: no record's loss is infinite."""


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """What became of the records of each class; every array is [classes].

    A class that was never told has precision 0, and one without records has recall 0.
    """

    records: NDArray[np.int64]
    """How many records are of the class."""
    predicted: NDArray[np.int64]
    """How many were taken to be."""
    precision: NDArray[np.float64]
    """Share of those taken to be of the class that are."""
    recall: NDArray[np.float64]
    """Share of the class's records that were recognised."""
    f1: NDArray[np.float64]
    """Harmonic mean of the two."""

    def averages(self) -> dict[str, float]:
        """`macro_` and `weighted_` `precision`, `recall` and `f1`.

        Macro: every class counts the same. Weighted: as many times as it has records. A class without records
        counts in neither.
        """
        there = self.records > 0
        return {
            f"{kind}_{name}": float(np.average(values[there], weights=weights))
            for kind, weights in (("macro", None), ("weighted", self.records[there]))
            for name, values in (("precision", self.precision), ("recall", self.recall), ("f1", self.f1))
        }


def class_scores(labels: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int) -> ClassScores:
    """Scores by class.

    Args:
        labels: [n], the right classes.
        predicted: [n], the classes that were told.
        classes: how many there are.
    """
    there = np.bincount(labels, minlength=classes)
    told = np.bincount(predicted, minlength=classes)
    right = np.bincount(labels[labels == predicted], minlength=classes)
    return ClassScores(
        records=there,
        predicted=told,
        precision=right / np.maximum(told, 1),
        recall=right / np.maximum(there, 1),
        f1=2 * right / np.maximum(there + told, 1),
    )


def accuracy(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """The share of records [n] whose most probable class [n, classes] is the right one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def top_accuracy(labels: NDArray[np.int64], probabilities: NDArray[np.float32], *, most: int) -> float:
    """The share of records [n] whose right class is among the `most` probable ones [n, classes].

    Of classes that are as probable the first goes before, as it does where one class is told.
    """
    own = probabilities[np.arange(len(labels)), labels][:, np.newaxis]
    before = np.arange(probabilities.shape[1]) < labels[:, np.newaxis]
    ahead = (probabilities > own) | ((probabilities == own) & before)
    return float((ahead.sum(axis=1) < most).mean())


def log_loss(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """The mean of -log p(right class) over records [n], given probabilities [n, classes]."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, _LEAST_PROBABILITY)).mean())


def confusions(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of a right class and a told one that occur, in order.

    Returns:
        The right class, the told class, and how many records it went so with, int64 [pairs] each: what is not
        zero of the confusion matrix, which for many classes would not fit into memory.
    """
    codes, records = np.unique(labels * classes + predicted, return_counts=True)
    return codes // classes, codes % classes, records


def confusion_matrix(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int
) -> NDArray[np.int64]:
    """Records by right class and told class, int64 [classes, classes]."""
    matrix = np.zeros((classes, classes), np.int64)
    right, told, records = confusions(labels, predicted, classes=classes)
    matrix[right, told] = records
    return matrix
