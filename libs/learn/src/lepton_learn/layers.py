"""Layers that the families of models have in common."""

import math
from typing import Any

import keras
import tensorflow as tf

from lepton_common.errors import InvalidModel
from lepton_learn.examples import LabelScale
from lepton_learn.recipe import Normalization
from lepton_learn.transform import FittedTransform

# Half of a batch-norm average is forgotten in seven steps. Keras's 0.99 takes 69, more than an epoch of a
# small dataset has, and the first validations would say nothing.
_NORM_MOMENTUM = 0.9
_NORM_GROUPS = 8
"""Groups of channels of a group normalisation, at most: Wu and He, 2018."""


def image_input(family: str, transform: FittedTransform) -> Any:
    """The input of a model that takes one image.

    Raises:
        InvalidModel: the features are not one image, or a tensor of its rank.
    """
    if len(transform.input_shape) != 3:
        names = ", ".join(column.name for column in transform.schema.features)
        raise InvalidModel(
            f"a {family} takes one feature of shape [height, width, channels]; the features {names} have "
            f"shape {list(transform.input_shape)}: an mlp takes them"
        )
    return keras.Input(transform.input_shape, name="features")


def convolution(x: Any, filters: int, size: int, *, name: str, strides: int = 1) -> Any:
    """A convolution before a normalisation, which brings the bias; its weights are drawn as by He et al."""
    return keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def normalization(x: Any, *, name: str, kind: Normalization = "batch") -> Any:
    """Batch normalisation, Ioffe and Szegedy, 2015, over all replicas of a team; or within each record."""
    if kind == "group":
        return keras.layers.GroupNormalization(math.gcd(x.shape[-1], _NORM_GROUPS), name=name)(x)
    workers = tf.distribute.get_strategy().num_replicas_in_sync
    return keras.layers.BatchNormalization(momentum=_NORM_MOMENTUM, synchronized=workers > 1, name=name)(x)


def head(x: Any, transform: FittedTransform, label_scale: LabelScale | None) -> Any:
    """The output: a logit by class, or a quantity in its label's unit, from features [batch, width].

    In float32 whatever comes before: a sum of exponentials and a label's own unit need its precision.
    """
    if label_scale is None:
        return keras.layers.Dense(len(transform.classes), dtype="float32", name="logits")(x)
    x = keras.layers.Dense(1, dtype="float32", name="standardized")(x)
    return in_unit(x, label_scale)


def in_unit(x: Any, label_scale: LabelScale) -> Any:
    """A quantity of mean 0 and deviation 1 [batch, 1], which is what weights learn, in its label's unit."""
    return keras.layers.Rescaling(
        label_scale.deviation, label_scale.mean, dtype="float32", name="prediction"
    )(x)
