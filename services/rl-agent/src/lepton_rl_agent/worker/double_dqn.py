"""Gradient steps of a DQN: many in one compiled call.

A small network spends its time on calling, not on computing: one gradient step a call takes 350
microseconds where the arithmetic takes 40. So the loop over the steps is inside the compiled function,
with the batches of all steps given at once and all shapes fixed.

Double Q-learning, van Hasselt et al., 2016: the network that learns picks the next action, the target
network says what it is worth. The target is what the network was when the call began.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lepton_rl_agent.agent import UPDATES_PER_CALL
from lepton_rl_agent.worker.network import Layers
from lepton_rl_agent.worker.replay import EXTRA_COLUMNS

Tensors: TypeAlias = tuple[Any, ...]

CLIP_NORM = 10.0
"""Most that the gradient of all weights together may measure."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Adam's decay rates and the number that keeps it from dividing by zero."""


_PARTS = ("layer", "first", "second")
"""Names of the parts of a state that are one array for each layer."""


class State(NamedTuple):
    """A network and its optimizer. Adam: Kingma and Ba, 2015, algorithm 1.

    Attributes:
        layers: weights and biases.
        first: running mean of the gradient of each.
        second: running mean of its square.
        count: gradient steps so far, float32.
    """

    layers: Tensors
    first: Tensors
    second: Tensors
    count: Any


class DoubleDqn:
    """A network that learns action values from batches of transitions.

    Args:
        layers: the network to start from, with a duelling head.
        batch_size: transitions a gradient step.

    Attributes:
        observation_size: numbers in one observation.
    """

    def __init__(self, layers: Layers, *, batch_size: int) -> None:
        self.observation_size = int(layers[0].shape[0])
        zeros = tuple(np.zeros_like(layer) for layer in layers)
        self._state = State(layers, zeros, zeros, np.float32(0.0))
        self._batch_shape = (UPDATES_PER_CALL, batch_size, 2 * self.observation_size + EXTRA_COLUMNS)
        # Its loop is TensorFlow's own, so there is no Python to be rewritten, which takes seconds.
        self._learn = tf.function(_learn, jit_compile=True, autograph=False)

    @property
    def rows_per_call(self) -> int:
        """Transitions that one call of `learn` takes."""
        return self._batch_shape[0] * self._batch_shape[1]

    def learn(self, rows: NDArray[np.float32], *, learning_rate: float) -> float:
        """Make `UPDATES_PER_CALL` gradient steps.

        Args:
            rows: transitions as `ReplayBuffer` lays them out, `[rows_per_call, columns]`.
            learning_rate: step size of Adam.

        Returns:
            The mean loss.
        """
        batches = rows.reshape(self._batch_shape)
        self._state, loss = self._learn(self._state, batches, np.float32(learning_rate))
        return float(loss)

    def layers(self) -> Layers:
        """Return the network as it is now."""
        return tuple(np.asarray(layer) for layer in self._state.layers)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the network and its optimizer."""
        state = {"count": np.asarray(self._state.count)}
        for name, part in zip(_PARTS, self._state[:-1], strict=True):
            state |= {f"{name}{n}": np.asarray(array) for n, array in enumerate(part)}
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned."""
        places = range(len(self._state.layers))
        layers, first, second = (tuple(state[f"{name}{n}"] for n in places) for name in _PARTS)
        self._state = State(layers, first, second, np.float32(state["count"]))


def _learn(state: State, batches: Any, learning_rate: Any) -> tuple[State, Any]:
    target = state.layers

    def step(n: Any, state: State, total: Any) -> tuple[Any, State, Any]:
        loss, gradients = _loss(state.layers, target, batches[n])
        return n + 1, _adam(state, gradients, learning_rate), total + loss

    first = (tf.constant(0), state, tf.constant(0.0))
    _, state, total = tf.while_loop(lambda n, *_: n < UPDATES_PER_CALL, step, first)
    return state, total / UPDATES_PER_CALL


def _loss(layers: Tensors, target: Tensors, batch: Any) -> tuple[Any, Tensors]:
    size = (batch.shape[1] - EXTRA_COLUMNS) // 2
    observations, later = batch[:, :size], batch[:, size : 2 * size]
    action, rewards, discount = tf.cast(batch[:, 2 * size], tf.int32), batch[:, -2], batch[:, -1]
    best = tf.argmax(_values(layers, later), axis=1, output_type=tf.int32)
    goal = rewards + discount * _pick(_values(target, later), best)
    with tf.GradientTape() as tape:
        tape.watch(layers)
        error = tf.abs(_pick(_values(layers, observations), action) - goal)
        # Huber: square near 0, straight beyond 1, so that one wild target does not rule the batch.
        loss = tf.reduce_mean(tf.where(error < 1.0, 0.5 * error * error, error - 0.5))
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, layers), CLIP_NORM)
    return loss, tuple(gradients)


def _values(layers: Tensors, observations: Any) -> Any:
    x = observations
    for weights, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = tf.nn.relu(x @ weights + bias)
    head = x @ layers[-2] + layers[-1]
    value, advantages = head[:, :1], head[:, 1:]
    return value + advantages - tf.reduce_mean(advantages, axis=1, keepdims=True)


def _pick(values: Any, actions: Any) -> Any:
    return tf.reduce_sum(values * tf.one_hot(actions, values.shape[1]), axis=1)


def _adam(state: State, gradients: Tensors, learning_rate: Any) -> State:
    count = state.count + 1.0
    first = tuple(BETA_1 * m + (1.0 - BETA_1) * g for m, g in zip(state.first, gradients, strict=True))
    second = tuple(BETA_2 * v + (1.0 - BETA_2) * g * g for v, g in zip(state.second, gradients, strict=True))
    rate = learning_rate * tf.sqrt(1.0 - BETA_2**count) / (1.0 - BETA_1**count)
    layers = tuple(
        layer - rate * m / (tf.sqrt(v) + EPSILON)
        for layer, m, v in zip(state.layers, first, second, strict=True)
    )
    return State(layers, first, second, count)
