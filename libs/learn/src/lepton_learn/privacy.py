"""Differentially private gradients: each record's clipped, and noise in their sum.

DP-SGD: Abadi et al., 2016, algorithm 1. The gradient g_i of each record is scaled to norm C at most,
g_i <- g_i min(1, C / |g_i|), so that one record more or less changes the sum by C at most. To the sum comes
Gaussian noise of deviation `noise_multiplier` times C, and it is divided by the expected size of a batch, not
by the size that was drawn, which would tell of the records.

Every record goes through the model alone. So a layer that would mix records can not, and the gradients of all
records are one vectorised computation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lepton_common.errors import InvalidModel
from lepton_learn.secret import derive

_SEEDS_OF_A_STEP = 256
"""How often a layer may draw at random in a step before it meets the next step's draws."""


def check_private(model: keras.Model) -> None:
    """Refuse a model that learns more of the records than its gradients tell.

    Raises:
        InvalidModel: it has batch normalisation, whose averages are those of the records, without noise.
    """
    # Layers in wrappers and in models within the model too, which no public method gives.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            raise InvalidModel(
                f"the layer {layer.name!r} is a batch normalisation, which keeps averages of the records: a "
                "private training takes a model without, or with group normalisation"
            )


def clipped_sum(
    model: keras.Model,
    losses: Callable[[Any, Any], Any],
    records: Sequence[Any],
    *,
    step: Any,
    clip_norm: float,
) -> list[Any]:
    """The sum of the records' gradients, each clipped.

    A record whose gradient is no number, or beyond float32, counts nothing: it may not spoil the sum.

    Args:
        model: in whose scope it is called, on a replica.
        losses: of labels [n] and outputs [n, units]: the loss of each record [n].
        records: inputs [n, ...], labels [n], weights float32 [n] and places int32 [n]. A record of weight 0
            counts nothing; its place in the batch is what its dropout hangs on.
        step: int64 scalar, which it hangs on too.
        clip_norm: largest L2 norm of a record's gradient, over all weights.

    Returns:
        float32 tensors in the shapes of the model's trainable variables.
    """
    values = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]
    others = model.non_trainable_variables

    def gradients(record: Sequence[Any]) -> list[Any]:
        inputs, label, weight, place = record
        seed_step = tf.cast(tf.stack([tf.cast(place, tf.int64), step * _SEEDS_OF_A_STEP]), tf.uint32)
        with tf.GradientTape() as tape:
            tape.watch(values)
            # What a random layer keeps is its seed: each record has one of its own.
            kept = [each.value + seed_step if each.dtype == "uint32" else each.value for each in others]
            outputs, _, penalties = model.stateless_call(
                values, kept, inputs[tf.newaxis], training=True, return_losses=True
            )
            loss = weight * losses(label[tf.newaxis], tf.cast(outputs, tf.float32))[0]
            objective = tf.add_n([loss, *penalties])
        found = tape.gradient(objective, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    found = [
        tf.reshape(gradient, [tf.shape(gradient)[0], -1])
        for gradient in tf.vectorized_map(gradients, tuple(records))
    ]
    norms = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient), axis=1) for gradient in found]))
    counts = tf.math.is_finite(norms) & (records[2] > 0)
    shares = tf.where(counts, tf.minimum(1.0, clip_norm / tf.maximum(norms, np.finfo(np.float32).tiny)), 0.0)
    sums = []
    for gradient, value in zip(found, values, strict=True):
        gradient = tf.where(counts[:, tf.newaxis], gradient, 0.0)
        sums.append(tf.reshape(tf.linalg.matvec(gradient, shares, transpose_a=True), value.shape))
    return sums


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """The Gaussian mechanism of a training's steps."""

    clip_norm: float
    """Largest L2 norm of one record's gradient: what one record changes in the sum at most."""
    noise_multiplier: float
    """Standard deviation of the noise in the sum, as a multiple of `clip_norm`."""
    expected: int
    """Records of a batch on average."""
    secret: bytes
    """What the noise hangs on."""

    def noise(self, step: Any, *, like: Sequence[Any]) -> list[Any]:
        """The noise in the sum of a step's gradients, float32 in the shapes of `like`."""
        key = tf.constant(np.frombuffer(derive(self.secret, "gaussian noise"), np.int64))
        sizes = [int(np.prod(each.shape)) for each in like]
        drawn = tf.random.stateless_normal(
            [sum(sizes)],
            tf.random.experimental.stateless_fold_in(key, step),
            stddev=self.noise_multiplier * self.clip_norm,
        )
        parts = tf.split(drawn, sizes)
        return [tf.reshape(part, each.shape) for part, each in zip(parts, like, strict=True)]
