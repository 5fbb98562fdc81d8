"""What a model's output means: how far off it is, and what is told to whoever asks.

A classification learns by the cross-entropy -log p(class), p the softmax of the logits; a regression by the
squared error in units of the label's variance, so that 1 is as bad as always telling the mean and the step
size means the same whatever the label's unit; a forecast by the pinball loss of its quantiles (Koenker and
Bassett, 1978), in units of the label's deviation.
"""

from abc import ABC, abstractmethod
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lepton_common.errors import InvalidModel
from lepton_learn.examples import LabelScale
from lepton_learn.moments import Affine
from lepton_learn.series import Series
from lepton_learn.transform import FittedTransform

# After any other the outputs are neither probabilities nor logits.
_FINAL_ACTIVATIONS = ("linear", "softmax")


class Task(ABC):
    """How outputs are judged and read."""

    @abstractmethod
    def losses(self, labels: Any, outputs: Any) -> Any:
        """The loss of each record [n], given labels [n, ...] and the model's outputs [n, ...]."""

    def training_losses(self, labels: Any, outputs: Any) -> Any:
        """The loss of each record [n] that is learned by, where that is another one than it is judged by."""
        return self.losses(labels, outputs)

    @abstractmethod
    def answers(self, outputs: Any) -> Any:
        """What is told: probabilities [n, classes], or in the label's own unit predictions [n, 1] or
        forecasts [n, horizon, quantiles]."""


class Classification(Task):
    """One of several classes."""

    def __init__(self, *, from_logits: bool) -> None:
        """Say whether the model's last layer leaves the softmax to us."""
        self._from_logits = from_logits

    def losses(self, labels: Any, outputs: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=self._from_logits)

    def answers(self, outputs: Any) -> Any:
        return tf.nn.softmax(outputs) if self._from_logits else outputs


class Regression(Task):
    """A quantity."""

    def __init__(self, label: Affine, scale: LabelScale) -> None:
        """Take the label's transform, and the scale of the training labels after it."""
        self._label = label
        self._scale = scale

    def losses(self, labels: Any, outputs: Any) -> Any:
        return tf.square((labels - tf.squeeze(outputs, axis=1)) / self._scale.deviation)

    def answers(self, outputs: Any) -> Any:
        if self._label.is_identity:
            return outputs
        return outputs / float(self._label.scale) + float(self._label.offset)


class Forecast(Task):
    """The quantiles of what comes in a series."""

    def __init__(self, series: Series, scale: LabelScale) -> None:
        """Take what the records are cut from, and the scale of the training labels."""
        self.series = series
        self._scale = scale

    def losses(self, labels: Any, outputs: Any) -> Any:
        levels = tf.constant(self.series.quantiles, tf.float32)
        errors = (labels[..., tf.newaxis] - outputs) / self._scale.deviation
        return tf.reduce_mean(tf.maximum(levels * errors, (levels - 1) * errors), axis=[1, 2])

    def answers(self, outputs: Any) -> Any:
        return outputs


def task_of(model: keras.Model, transform: FittedTransform, *, label_scale: LabelScale | None) -> Task:
    """The task of a model, told from the label and the model's last layer.

    Args:
        model: any model that `build_model` gave.
        transform: the dataset's.
        label_scale: of the training labels, if they are no classes; without it the loss is in the label's
            own unit.

    Raises:
        InvalidModel: a classifier ends in another activation than softmax or none.
    """
    label, scale = transform.fitted[transform.schema.label], label_scale or LabelScale(0.0, 1.0)
    if transform.schema.series is not None:
        return Forecast(transform.schema.series, scale)
    if isinstance(label, Affine):
        return Regression(label, scale)
    return Classification(from_logits=not _ends_in_softmax(model, transform.input_shape))


def _ends_in_softmax(model: keras.Model, input_shape: tuple[int, ...]) -> bool:
    last = _last_layer(model)
    activation = getattr(last, "activation", None)
    name = "linear" if activation is None else getattr(activation, "__name__", str(activation))
    if name not in _FINAL_ACTIVATIONS:
        raise InvalidModel(
            f"the last layer, {last.name!r}, applies {name}: a classifier ends in softmax or linear"
        )
    # Softmax may hide behind a reshape or an operation without a layer, but not from what comes out.
    probe = np.random.default_rng(0).normal(size=(16, *input_shape)).astype(np.float32)
    outputs = model(probe, training=False).numpy()
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _last_layer(model: keras.Model) -> Any:
    """The layer that the output comes from; None where that is a bare operation."""
    if isinstance(model, keras.Sequential):
        last = model.layers[-1]
    else:
        last = next((layer for layer in model.layers if layer.name == model.output_names[0]), None)
    return _last_layer(last) if isinstance(last, keras.Model) else last
