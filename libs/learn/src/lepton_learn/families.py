"""The models that are trained: families of our own, and whatever a Keras config describes.

Every model has one input, float32 [batch, *transform.input_shape], and one output: a logit by class, one
number or, for time series, the quantiles of a forecast. A dense layer computes f(x) = sigma(W x + b), with
sigma(x) = max(0, x), 1 / (1 + e^-x) or tanh(x).
"""

import json
from collections.abc import Mapping

import keras
import tensorflow as tf

from lepton_common.errors import InvalidModel
from lepton_learn.examples import Examples, LabelScale
from lepton_learn.keras_config import check_config
from lepton_learn.layers import convolution, head, image_input, normalization
from lepton_learn.recipe import (
    Architecture,
    Cnn,
    KerasConfig,
    Mlp,
    Precision,
    ResNet,
    Tcn,
    TwoTower,
    WideAndDeep,
)
from lepton_learn.resnet import build_resnet
from lepton_learn.task import Task, task_of
from lepton_learn.tcn import build_tcn
from lepton_learn.transform import FittedTransform
from lepton_learn.two_tower import Retrieval, build_two_tower
from lepton_learn.wide_and_deep import build_wide_and_deep

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
            case ResNet():
                return build_resnet(architecture, transform, label_scale=label_scale)
            case WideAndDeep():
                return build_wide_and_deep(architecture, transform, label_scale=label_scale)
            case TwoTower():
                return build_two_tower(architecture, transform)
            case Tcn():
                return build_tcn(architecture, transform)
            case KerasConfig():
                return build_from_config(architecture, transform)
    finally:
        keras.config.set_dtype_policy(before)


def training_task(
    architecture: Architecture, model: keras.Model, transform: FittedTransform, *, training: Examples
) -> Task:
    """The task that a model learns from its training split.

    Raises:
        InvalidModel: as `task_of`.
    """
    if isinstance(architecture, TwoTower):
        return Retrieval.of(training.labels, items=len(transform.classes))
    return task_of(model, transform, label_scale=training.label_scale)


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
    return keras.Model(inputs, head(x, transform, label_scale), name="mlp")


def build_cnn(recipe: Cnn, transform: FittedTransform, *, label_scale: LabelScale | None) -> keras.Model:
    """Blocks of convolution, normalisation, ReLU and pooling, then one dense layer.

    Group normalisation: Wu and He, 2018. Dropout: Srivastava et al., 2014.

    Raises:
        InvalidModel: the features are not one image, or a tensor of its rank.
    """
    inputs = x = image_input("cnn", transform)
    for place, filters in enumerate(recipe.filters):
        x = convolution(x, filters, 3, name=f"convolution_{place}")
        x = normalization(x, kind=recipe.normalization, name=f"normalization_{place}")
        x = keras.layers.ReLU(name=f"relu_{place}")(x)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"pooling_{place}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(recipe.dense_units, "relu", kernel_initializer="he_normal", name="dense")(x)
    x = keras.layers.Dropout(recipe.dropout, name="dropout")(x)
    return keras.Model(inputs, head(x, transform, label_scale), name="cnn")


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
    wanted = transform.output_shape
    if tuple(model.outputs[0].shape[1:]) != wanted:
        meaning = (
            f"one for each of the {len(transform.classes)} classes"
            if transform.classes
            else "one for the label's value"
        )
        if transform.schema.series is not None:
            meaning = "the quantiles of each row that is forecast"
        raise InvalidModel(
            f"the model gives outputs of shape {list(model.outputs[0].shape[1:])}: "
            f"it must give {list(wanted)}, {meaning}"
        )
    if not model.trainable_variables:
        raise InvalidModel("the model has no weights to train")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else type(error).__name__
