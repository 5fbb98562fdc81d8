"""Batches of one shape, in an order that hangs on the seed and the epoch alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_learn.examples import Examples


@dataclass(frozen=True)
class PaddedBatch:
    """Records of one step. All batches of a training have one shape, so a step is compiled once."""

    inputs: NDArray[np.float32]
    """[size, *input_shape]."""
    labels: NDArray[Any]
    """[size]."""
    weights: NDArray[np.float32]
    """[size]: 1 for a record of this batch, 0 for one that fills it up."""
    records: int
    """How many count."""


class Batches:
    """The batches of each epoch.

    The last batch of an epoch is filled up with the epoch's first records at weight 0: real records, so that
    batch normalisation sees nothing unlike the data.
    """

    def __init__(self, examples: Examples, *, size: int, seed: int) -> None:
        """Batch at most `size` records, fewer if there are not so many at all."""
        self._examples = examples
        self._size = min(size, len(examples))
        self._seed = seed
        self.records = len(examples)
        """Records of an epoch."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-self.records // self._size)

    def epoch(self, epoch: int) -> Iterator[PaddedBatch]:
        """The batches of one epoch, counted from 0: every record once, in an order of its own."""
        # SeedSequence takes no negative numbers.
        random = np.random.default_rng([self._seed % 2**64, epoch])
        order = random.permutation(self.records)
        padded = np.resize(order, len(self) * self._size)
        for start in range(0, len(padded), self._size):
            records = min(self._size, self.records - start)
            inputs, labels = self._examples.take(padded[start : start + self._size])
            weights = (np.arange(self._size) < records).astype(np.float32)
            yield PaddedBatch(inputs, labels, weights, records)
