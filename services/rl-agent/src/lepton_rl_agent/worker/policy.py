"""What is learned: action values by observation, in a form that can be kept, played and exported."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent.worker import network

Arrays: TypeAlias = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class TablePolicy:
    """A value for every pair of state and action.

    Attributes:
        arrays: the one table, `[states, actions]`.
    """

    arrays: Arrays

    def values(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Return the action values of states, `[batch] -> [batch, actions]`."""
        return np.asarray(self.arrays[0][observations])


@dataclass(frozen=True)
class NetworkPolicy:
    """A network of dense layers.

    Attributes:
        arrays: its layers, as `network.action_values` takes them.
    """

    arrays: Arrays

    def values(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Return the action values of observations, `[batch, *shape] -> [batch, actions]`."""
        flat = observations.reshape(len(observations), -1).astype(np.float32, copy=False)
        return network.action_values(self.arrays, flat)


Policy: TypeAlias = TablePolicy | NetworkPolicy
