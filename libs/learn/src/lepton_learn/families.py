"""The models that are trained: two families of our own, and whatever a Keras config describes.

Every model has one input, float32 [batch, *transform.input_shape], and one output: a logit by class, or one
number. A dense layer computes f(x) = sigma(W x + b), with sigma(x) = max(0, x), 1 / (1 + e^-x) or tanh(x).
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from lepton_common.errors import InvalidModel
from lepton_learn.examples import LabelScale
from lepton_learn.keras_config import check_config
from lepton_learn.recipe import Architecture, Cnn, KerasConfig, Mlp, Precision
from lepton_learn.transform import FittedTransform

# What Keras raises for configs and shapes that do not fit together.
_BUILD_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    tf.errors.OpError,
)
# Half of a batch-norm average is forgotten in seven steps. Keras's 0.99 takes 69, more than an epoch of a
# small dataset has, and the first validations would say nothing.
_NORM_MOMENTUM = 0.9
_NORM_GROUPS = 8
"""Groups of a group normalisation, at most."""
_POLICIES: Mapping[Precision, str] = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def build_model(
    architecture: Architecture,
    transform: FittedTransform,
    *,
    label_scale: LabelScale | None,
    precision: Precision = "float32",
) -> keras.Model:
    """Build a model with fresh weights, drawn by Keras's global seed.

    Args:
        architecture: what to build.
        transform: says what goes in and which classes come out.
        label_scale: of the training labels, for a regression; None for a classification.
        precision: what its layers compute in, but for the last ones; the weights are float32. A Keras config
            says itself what its layers compute in.

    Raises:
        UnsafeModel, TooLarge: the Keras config holds what it may not.
        InvalidModel: it cannot be built, or does not fit the dataset's features and label.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[precision])
    try:
        match architecture:
            case Mlp():
                return build_mlp(architecture, transform, label_scale=label_scale)
            case Cnn():
                return build_cnn(architecture, transform, label_scale=label_scale)
            case KerasConfig():
                return build_from_config(architecture, transform)
    finally:
        keras.config.set_dtype_policy(before)


def build_mlp(recipe: Mlp, transform: FittedTransform, *, label_scale: LabelScale | None) -> keras.Model:
    """A multilayer perceptron over all features, flattened and in a row."""
    inputs = keras.Input(transform.input_shape, name="features")
    x = keras.layers.Flatten(name="flatten")(inputs)
    # He et al., 2015, for ReLU; Glorot and Bengio, 2010, for the saturating ones.
    initializer = "he_normal" if recipe.activation == "relu" else "glorot_uniform"
    for place, units in enumerate(recipe.hidden_units):
        x = keras.layers.Dense(
            units, recipe.activation, kernel_initializer=initializer, name=f"dense_{place}"
        )(x)
        if recipe.dropout > 0:
            x = keras.layers.Dropout(recipe.dropout, name=f"dropout_{place}")(x)
    return keras.Model(inputs, _head(x, transform, label_scale), name="mlp")


def build_cnn(recipe: Cnn, transform: FittedTransform, *, label_scale: LabelScale | None) -> keras.Model:
    """Blocks of convolution, normalisation, ReLU and pooling, then one dense layer.

    Batch normalisation: Ioffe and Szegedy, 2015. Group normalisation: Wu and He, 2018. Dropout: Srivastava
    et al., 2014.

    Raises:
        InvalidModel: the features are not one image, or a tensor of its rank.
    """
    if len(transform.input_shape) != 3:
        names = ", ".join(column.name for column in transform.schema.features)
        raise InvalidModel(
            f"a cnn takes one feature of shape [height, width, channels]; the features {names} have shape "
            f"{list(transform.input_shape)}: an mlp takes them"
        )
    inputs = keras.Input(transform.input_shape, name="features")
    x = inputs
    for place, filters in enumerate(recipe.filters):
        x = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"convolution_{place}",
        )(x)
        x = _normalization(recipe, filters, name=f"normalization_{place}")(x)
        x = keras.layers.ReLU(name=f"relu_{place}")(x)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"pooling_{place}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(recipe.dense_units, "relu", kernel_initializer="he_normal", name="dense")(x)
    x = keras.layers.Dropout(recipe.dropout, name="dropout")(x)
    return keras.Model(inputs, _head(x, transform, label_scale), name="cnn")


def _normalization(recipe: Cnn, filters: int, *, name: str) -> keras.layers.Layer:
    if recipe.normalization == "group":
        return keras.layers.GroupNormalization(math.gcd(filters, _NORM_GROUPS), name=name)
    workers = tf.distribute.get_strategy().num_replicas_in_sync
    return keras.layers.BatchNormalization(momentum=_NORM_MOMENTUM, synchronized=workers > 1, name=name)


def _head(x: Any, transform: FittedTransform, label_scale: LabelScale | None) -> Any:
    # In float32 whatever comes before: a sum of exponentials and a label's own unit need its precision.
    if label_scale is None:
        return keras.layers.Dense(len(transform.classes), dtype="float32", name="logits")(x)
    x = keras.layers.Dense(1, dtype="float32", name="standardized")(x)
    # The weights learn a quantity of mean 0 and deviation 1, whatever the unit of the label.
    return keras.layers.Rescaling(
        label_scale.deviation, label_scale.mean, dtype="float32", name="prediction"
    )(x)


def build_from_config(recipe: KerasConfig, transform: FittedTransform) -> keras.Model:
    """The model that a Keras config describes, checked before and after it is built.

    Raises:
        UnsafeModel, TooLarge: as `check_config`.
        InvalidModel: it cannot be built, or does not fit the dataset.
    """
    config = check_config(recipe.json)
    try:
        model = keras.models.model_from_json(json.dumps(config))
        if not model.built:
            model.build((None, *transform.input_shape))
    except _BUILD_ERRORS as error:
        raise InvalidModel(f"Keras cannot build the model: {_first_line(error)}") from error
    _check_fit(model, transform)
    return model


def _check_fit(model: keras.Model, transform: FittedTransform) -> None:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InvalidModel(
            f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs: "
            "it must have one of each"
        )
    taken, given = model.inputs[0].shape[1:], transform.input_shape
    fits = len(taken) == len(given) and all(
        size in (None, wanted) for size, wanted in zip(taken, given, strict=True)
    )
    if not fits:
        raise InvalidModel(f"the model takes inputs of shape {list(taken)}; the features have {list(given)}")
    units = len(transform.classes) or 1
    if tuple(model.outputs[0].shape[1:]) != (units,):
        meaning = f"one for each of the {units} classes" if transform.classes else "one for the label's value"
        raise InvalidModel(
            f"the model gives outputs of shape {list(model.outputs[0].shape[1:])}: "
            f"it must give [{units}], {meaning}"
        )
    if not model.trainable_variables:
        raise InvalidModel("the model has no weights to train")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else type(error).__name__
