"""Who trains together: the processes of a training, and the devices of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class Team:
    """The replicas of a model that take every step together.

    Each process holds one replica on each of its devices; all of them hold the same weights at all times.
    """

    strategy: Any
    """The `tf.distribute` strategy in whose scope the model lives."""
    index: int = 0
    """Which of the processes this one is."""
    workers: int = 1
    """How many processes there are."""

    @classmethod
    def alone(cls) -> Team:
        """This process, with every GPU that it sees, or else its CPU."""
        gpus = tf.config.list_logical_devices("GPU")
        strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
        return cls(strategy)

    @property
    def replicas(self) -> int:
        """Replicas in all."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that reports and saves for all."""
        return self.index == 0

    def share(self, size: int) -> slice:
        """The part of a batch of `size` records, a multiple of `replicas`, that this process computes."""
        part = size // self.workers
        return slice(self.index * part, (self.index + 1) * part)

    def own_share(self, *tensors: Any) -> list[Any]:
        """Inside a replica: its part of tensors [records of this process, ...]."""
        local = self.replicas // self.workers
        if local == 1:
            return list(tensors)
        place = tf.distribute.get_replica_context().replica_id_in_sync_group - self.index * local
        return [tensor[place * (size := tensor.shape[0] // local) :][:size] for tensor in tensors]

    def sum(self, values: Any) -> Any:
        """Across all replicas, inside a function and outside of a replica: the sum of float32 values."""
        if self.replicas == 1:
            return values
        return self.strategy.reduce(
            tf.distribute.ReduceOp.SUM, self.strategy.run(tf.identity, (values,)), None
        )
