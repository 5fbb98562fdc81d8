"""Batches of one shape, in an order that hangs on the seed and the epoch alone, made ready beforehand."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lepton_learn.examples import Examples


@dataclass(frozen=True)
class Block:
    """The records of some steps, one after the other, or what one process computes of them.

    All batches of a training have one shape, so a step is compiled once.
    """

    inputs: NDArray[np.float32]
    """[steps, size, *input_shape]."""
    labels: NDArray[Any]
    """[steps, size, ...]."""
    weights: NDArray[np.float32]
    """[steps, size]: what each record counts; 0 for one that fills a batch up."""
    counts: NDArray[np.int32]
    """[steps]: how many records of the whole batch count."""


class Batches:
    """The batches of each epoch.

    The last batch of an epoch is filled up with the epoch's first records at weight 0: real records, so that
    batch normalisation sees nothing unlike the data.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        size: int,
        seed: int,
        multiple: int = 1,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Batch the records.

        Args:
            examples: at least one record.
            size: records of a batch; fewer if there are not so many at all.
            seed: of the order.
            multiple: batches are filled up to a multiple of this, the parts that they are computed in.
            class_weights: [classes], what a record counts by its class; None: 1.
        """
        self._examples = examples
        self._counted = min(size, len(examples))
        self._seed = seed
        self._class_weights = class_weights
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self.size = -(-self._counted // multiple) * multiple
        """Records of a batch, with those that fill it up."""
        self.records = len(examples)
        """Records of an epoch."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-self.records // self._counted)

    def block(self, epoch: int, steps: range, *, share: slice = slice(None)) -> Block:
        """The batches of some steps of an epoch, both counted from 0, or a part of each batch."""
        counts = self._counts(epoch, steps)
        chosen = self._choose(epoch, steps, counts)[:, share]
        weights = (np.arange(self.size)[share] < counts[:, np.newaxis]).astype(np.float32)
        inputs, labels = self._examples.take(chosen.ravel())
        inputs = inputs.reshape(*chosen.shape, *inputs.shape[1:])
        labels = labels.reshape(*chosen.shape, *labels.shape[1:])
        if self._class_weights is not None:
            weights *= self._class_weights[labels]
        return Block(inputs, labels, weights, counts.astype(np.int32))

    def _counts(self, epoch: int, steps: range) -> NDArray[np.int64]:
        """How many records of each batch count [steps]."""
        return np.minimum(self._counted, self.records - np.arange(steps.start, steps.stop) * self._counted)

    def _choose(self, epoch: int, steps: range, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The records of each batch [steps, size]: in an epoch every one once, in an order of its own."""
        starts = np.arange(steps.start, steps.stop)[:, np.newaxis] * self._counted
        places = np.arange(self.size)
        # What fills the last batch up begins the epoch's order anew.
        filled = np.where(places < counts[:, np.newaxis], starts + places, places) % self.records
        chosen: NDArray[np.int64] = self._order_of(epoch)[filled]
        return chosen

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        known, order = self._order
        if known != epoch:
            # SeedSequence takes no negative numbers.
            order = np.random.default_rng([self._seed % 2**64, epoch]).permutation(self.records)
            self._order = (epoch, order)
        return order


class Feed:
    """Makes the next block ready on a thread of its own while the last one is learnt from."""

    def __init__(self, batches: Batches, *, share: slice) -> None:
        """Feed one process with its share of each batch."""
        self._batches = batches
        self._share = share
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[tuple[int, range], Future[Block]] | None = None

    def take(self, epoch: int, steps: range, *, then: tuple[int, range] | None) -> Block:
        """The block of these steps; `then` is what will probably be wanted next."""
        ahead, self._ahead = self._ahead, None
        future = ahead[1] if ahead and ahead[0] == (epoch, steps) else self._begin(epoch, steps)
        block = future.result()
        if then is not None:
            self._ahead = (then, self._begin(*then))
        return block

    def _begin(self, epoch: int, steps: range) -> Future[Block]:
        return self._thread.submit(self._batches.block, epoch, steps, share=self._share)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)


def class_weights(
    labels: NDArray[np.int64], classes: tuple[str, ...], *, given: Mapping[str, float], balanced: bool
) -> NDArray[np.float32] | None:
    """What a record of each class counts.

    Args:
        labels: [n], of the training split.
        classes: their names, by place.
        given: by name; a class that is not named counts 1.
        balanced: a class counts n / (classes x its records) instead, so that all count the same together.

    Returns:
        float32 [classes], or None where all count 1.
    """
    if balanced:
        records = np.bincount(labels, minlength=len(classes))
        return (len(labels) / (len(classes) * np.maximum(records, 1))).astype(np.float32)
    if not given:
        return None
    return np.array([given.get(name, 1.0) for name in classes], np.float32)
