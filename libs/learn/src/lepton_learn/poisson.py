"""Batches that every record is drawn into for itself, as the accountants of differential privacy assume.

A record comes with probability q = size / records into each batch, independently of all others and of all
other batches: Poisson subsampling, Mironov et al., 2019. To draw how many come, which is binomial, and then
which, all sets of that many being as likely, is the same thing.

Who knew which records a batch has would gain from it. So they hang on a secret, not on the training's seed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_learn.batches import Batches
from lepton_learn.examples import Examples
from lepton_learn.secret import derive


class PoissonBatches(Batches):
    """Batches of independent draws, as many in an epoch as it takes to draw each record once on average.

    All have the shape of the largest that will be drawn in the whole training, so that none is cut short.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        size: int,
        secret: bytes,
        epochs: int,
        multiple: int = 1,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Draw the sizes of all batches.

        Args:
            examples: at least one record.
            size: records of a batch on average; fewer if there are not so many at all.
            secret: what the draws hang on.
            epochs: of the whole training.
            multiple: as for `Batches`.
            class_weights: as for `Batches`.
        """
        super().__init__(examples, size=size, seed=0, multiple=multiple, class_weights=class_weights)
        self.expected = self._counted
        """Records of a batch on average."""
        self._key = int.from_bytes(derive(secret, "poisson sampling"))
        # The feed looks one epoch ahead.
        shape = (epochs + 1, len(self))
        self._drawn = self._generator(0).binomial(self.records, self.expected / self.records, shape)
        self.size = -(-max(int(self._drawn.max()), 1) // multiple) * multiple

    def _counts(self, epoch: int, steps: range) -> NDArray[np.int64]:
        return self._drawn[epoch, steps.start : steps.stop]

    def _choose(self, epoch: int, steps: range, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The records that were drawn, and any one to fill up."""
        chosen = np.zeros((len(steps), self.size), np.int64)
        for row, step, count in zip(chosen, steps, counts, strict=True):
            generator = self._generator(1 + epoch * len(self) + step)
            row[:count] = generator.choice(self.records, count, replace=False)
        return chosen

    def _generator(self, stream: int) -> np.random.Generator:
        """One of the streams of the secret, each longer than any draw."""
        counter: Any = [0, 0, stream, 0]
        return np.random.Generator(np.random.Philox(key=self._key, counter=counter))
