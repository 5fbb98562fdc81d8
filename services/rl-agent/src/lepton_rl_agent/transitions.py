"""What happened, as an agent learns from it: what was seen, what was done, and what came of it."""

import io
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Transitions:
    """Single steps, in any order.

    Attributes:
        observations: whole numbers `[n]` int64, or flat arrays `[n, numbers]` float32.
        actions: `[n]` int64.
        rewards: `[n]` float64.
        next_observations: as `observations`; of no meaning where the step is terminal.
        terminal: whether nothing came after by the rules, `[n]` bool.
    """

    observations: NDArray[Any]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    next_observations: NDArray[Any]
    terminal: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.actions)

    def to_bytes(self) -> bytes:
        """Return them as an `.npz`; equal transitions give equal bytes."""
        sink = io.BytesIO()
        np.savez_compressed(sink, **{field.name: getattr(self, field.name) for field in fields(self)})
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Transitions":
        """Return what `to_bytes` was called on."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return cls(**{field.name: archive[field.name] for field in fields(cls)})
