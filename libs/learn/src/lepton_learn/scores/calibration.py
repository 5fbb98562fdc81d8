"""Whether probabilities are what they say: of what is told with 0.8, eight of ten should come true."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Records by how sure the model was of its answer; every array is [bins].

    A bin without records has confidence and accuracy 0.
    """

    edges: NDArray[np.float64]
    """[bins + 1], from 0 to 1. A bin holds its upper edge and not its lower one."""
    records: NDArray[np.int64]
    """How many records fall into the bin."""
    confidence: NDArray[np.float64]
    """The mean probability of the classes that were told."""
    accuracy: NDArray[np.float64]
    """The share of them that were right."""

    @property
    def error(self) -> float:
        """The expected calibration error: how far accuracy is from confidence, over all records.

        Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3.
        """
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.records))


def reliability(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], *, bins: int = 15
) -> Reliability:
    """Bin records [n] by the probability of their most probable class [n, classes]."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    places = np.searchsorted(edges[1:-1], confidence)
    records = np.bincount(places, minlength=bins)
    some = np.maximum(records, 1)
    return Reliability(
        edges=edges,
        records=records,
        confidence=np.bincount(places, confidence, minlength=bins) / some,
        accuracy=np.bincount(places, right, minlength=bins) / some,
    )


def brier_score(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """The mean squared distance of probabilities [n, classes] from the truth: Brier, 1950.

    Summed over classes, so from 0 to 2; of two classes the second alone counts, as is usual, from 0 to 1.
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    squares = np.einsum("nk,nk->n", probabilities, probabilities, dtype=np.float64)
    score = float((squares - 2 * own + 1).mean())
    return score / 2 if probabilities.shape[1] == 2 else score
