"""The network of a DQN, in numpy: how it starts, how it acts, and the form it is exported in.

Dense layers with ReLU between them. While it learns, the last one has a duelling head: one column
for the value of the state and one for the advantage of each action. Wang et al., "Dueling network
architectures for deep reinforcement learning", 2016, equation 9:

    Q(s,a) = V(s) + A(s,a) - mean_b A(s,b)

At batch 1 three small matrix products in numpy take a tenth of the time of any call into a framework,
so acting in an environment needs none.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Layers: TypeAlias = tuple[NDArray[np.float32], ...]
"""Weights `[inputs, outputs]` and biases `[outputs]` in turn, from the first layer to the last."""


def initial(rng: np.random.Generator, widths: Sequence[int]) -> Layers:
    """Draw the layers of a new network. Glorot and Bengio, 2010, equation 16.

    Args:
        rng: source of the weights; the biases are 0.
        widths: of the observation, of each hidden layer, and of the output.
    """
    layers: list[NDArray[np.float64]] = []
    for inputs, outputs in pairwise(widths):
        limit = np.sqrt(6.0 / (inputs + outputs))
        layers += [rng.uniform(-limit, limit, (inputs, outputs)), np.zeros(outputs)]
    return tuple(layer.astype(np.float32) for layer in layers)


def fold_duel(layers: Layers) -> Layers:
    """Return layers that give the action values themselves.

    The duelling head is linear in the last hidden layer, so it becomes part of its weights.

    Args:
        layers: with `1 + actions` outputs: value, then advantages.

    Returns:
        Layers with `actions` outputs.
    """
    actions = layers[-1].size - 1
    fold = np.vstack([np.ones((1, actions)), np.eye(actions) - 1.0 / actions])
    last = ((layers[-2] @ fold).astype(np.float32), (layers[-1] @ fold).astype(np.float32))
    return (*layers[:-2], *last)


def action_values(layers: Layers, observations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the action values of flat observations, `[..., numbers] -> [..., actions]`.

    Args:
        layers: as `fold_duel` returns them.
        observations: one, or a batch.
    """
    x = observations
    for n in range(0, len(layers) - 2, 2):
        x = x @ layers[n] + layers[n + 1]
        np.maximum(x, 0.0, out=x)
    return np.asarray(x @ layers[-2] + layers[-1])
