"""What an agent sees and does."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import FieldViolation, InvalidField


@dataclass(frozen=True)
class Discrete:
    """Whole numbers 0 .. size - 1."""

    size: int


@dataclass(frozen=True)
class Box:
    """Real numbers in an array of this shape."""

    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers one observation has."""
        return prod(self.shape)


ObservationSpace: TypeAlias = Discrete | Box

Observation: TypeAlias = int | NDArray[np.float32]
"""An observation of a `Discrete` space, or of a `Box` as a flat array in row-major order."""


@dataclass(frozen=True)
class Spaces:
    """What an agent sees; its actions are the whole numbers 0 .. actions - 1."""

    observation: ObservationSpace
    actions: int


def check_observation(
    value: int | Sequence[float], space: ObservationSpace, *, field: str = "observation"
) -> Observation:
    """Return an observation that a caller gave, in the form that policies take.

    Args:
        value: a whole number, or the numbers of a box in row-major order.
        space: what the agent sees.
        field: where the caller gave it, for the error.

    Raises:
        InvalidField: it is not an element of the space, or not finite.
    """
    if isinstance(space, Discrete):
        if isinstance(value, int) and 0 <= value < space.size:
            return value
        rule = f"must be a whole number from 0 to {space.size - 1}, as `discrete`"
    elif isinstance(value, int) or len(value) != space.size:
        rule = f"must have {space.size} values for the shape {list(space.shape)}, as `box`"
    else:
        numbers = np.asarray(value, dtype=np.float32)
        if np.isfinite(numbers).all():
            return numbers
        rule = "must be finite"
    raise InvalidField(
        f"the {field.rpartition('.')[2]} does not fit the agent", violations=[FieldViolation(field, rule)]
    )
