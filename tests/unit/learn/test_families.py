"""Models take what the transform gives and give what the label needs, or say why they cannot."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from lepton_common.errors import InvalidModel, UnsafeModel
from lepton_learn.examples import LabelScale
from lepton_learn.families import build_model
from lepton_learn.manifest import Split
from lepton_learn.recipe import Cnn, KerasConfig, Mlp
from lepton_learn.schema import Transform
from lepton_learn.task import task_of

layers = keras.layers


def config(*parts: Any) -> KerasConfig:
    return KerasConfig(keras.Sequential(parts).to_json())


def test_an_mlp_has_the_layers_asked_for(breast_cancer: Any) -> None:
    recipe = Mlp(hidden_units=(16, 8), activation="sigmoid", dropout=0.5)
    model = build_model(recipe, breast_cancer.transform, label_scale=None)
    assert model.input_shape == (None, 30)
    assert model.output_shape == (None, 2)
    dense = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    assert [layer.units for layer in dense] == [16, 8, 2]
    assert [layer.activation.__name__ for layer in dense] == ["sigmoid", "sigmoid", "linear"]


def test_a_dense_layer_is_sigma_of_w_x_plus_b(breast_cancer: Any) -> None:
    recipe = Mlp(hidden_units=(4,), activation="sigmoid")
    model = build_model(recipe, breast_cancer.transform, label_scale=None)
    x = breast_cancer[Split.TEST].take(np.arange(3))[0]
    w, b, head, offset = model.get_weights()
    expected = (1 / (1 + np.exp(-(x @ w + b)))) @ head + offset
    np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-5)


def test_a_cnn_takes_an_image_and_halves_it_in_each_block(digits: Any) -> None:
    model = build_model(Cnn(filters=(3, 5, 7, 9)), digits.transform, label_scale=None)
    assert model.input_shape == (None, 8, 8, 1)
    assert [model.get_layer(f"pooling_{block}").output.shape[1] for block in range(4)] == [4, 2, 1, 1]
    assert model.output_shape == (None, 10)


def test_a_cnn_refuses_a_table(breast_cancer: Any) -> None:
    with pytest.raises(InvalidModel, match="an mlp takes them"):
        build_model(Cnn(), breast_cancer.transform, label_scale=None)


def test_a_regression_starts_in_the_unit_of_its_label(diabetes: Callable[[Transform], Any]) -> None:
    data = diabetes(Transform.IDENTITY)
    scale = data[Split.TRAIN].label_scale
    assert scale is not None
    model = build_model(Mlp(), data.transform, label_scale=scale)
    told = model(data[Split.TRAIN].take(np.arange(300))[0]).numpy()
    assert abs(told.mean() - scale.mean) < 2 * scale.deviation


@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_a_quantity_that_does_not_vary_has_deviation_one(constant: float) -> None:
    assert LabelScale.of(np.full(5, constant, np.float32)) == LabelScale(constant, 1.0)


FITTING = [
    pytest.param(lambda: config(keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10)), id="logits"),
    pytest.param(
        lambda: config(keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10, "softmax")), id="softmax"
    ),
    pytest.param(lambda: config(layers.Flatten(), layers.Dense(10)), id="no input layer"),
    pytest.param(
        lambda: config(keras.Input((None, None, 1)), layers.Conv2D(10, 3), layers.GlobalAveragePooling2D()),
        id="any size of image",
    ),
    pytest.param(lambda: KerasConfig(functional().to_json()), id="functional with operations"),
    pytest.param(
        lambda: config(keras.Input((8, 8, 1)), functional(), layers.Softmax()), id="model in a model"
    ),
    pytest.param(
        lambda: config(
            keras.Input((8, 8, 1)),
            layers.RandomTranslation(0.1, 0.1),
            layers.Reshape((8, 8)),
            layers.Bidirectional(layers.LSTM(4)),
            layers.Dense(10, "softmax"),
        ),
        id="recurrent",
    ),
]


def functional() -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = layers.Flatten()(inputs)
    x = keras.ops.relu(layers.Dense(10)(x) + layers.Dense(10)(x)) * 2.0
    return keras.Model(inputs, layers.Dense(10)(x))


@pytest.mark.parametrize("recipe", FITTING)
def test_a_config_of_keras_is_built(digits: Any, recipe: Callable[[], KerasConfig]) -> None:
    model = build_model(recipe(), digits.transform, label_scale=None)
    inputs, labels = digits[Split.TEST].take(np.arange(4))
    task = task_of(model, digits.transform, label_scale=None)
    outputs = model(inputs)
    assert task.losses(labels, outputs).shape == (4,)
    np.testing.assert_allclose(np.sum(task.answers(outputs), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        pytest.param(lambda: config(keras.Input((64,)), layers.Dense(10)), r"have \[8, 8, 1\]", id="input"),
        pytest.param(
            lambda: config(keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(9)),
            r"must give \[10\], one for each of the 10 classes",
            id="units",
        ),
        pytest.param(
            lambda: config(keras.Input((8, 8, 1)), layers.Dense(10)), r"must give \[10\]", id="output shape"
        ),
        pytest.param(
            lambda: config(keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10, "sigmoid")),
            "applies sigmoid",
            id="activation",
        ),
        pytest.param(
            lambda: config(keras.Input((8, 8, 1)), layers.Flatten()), r"must give \[10\]", id="bare"
        ),
        pytest.param(lambda: KerasConfig(two_inputs().to_json()), "2 inputs", id="two inputs"),
        pytest.param(
            lambda: KerasConfig(config(keras.Input((8, 8, 1)), layers.Dense(10)).json.replace("10", "-10")),
            "Keras cannot build",
            id="negative units",
        ),
        pytest.param(
            lambda: KerasConfig(
                config(keras.Input((3, 3, 1)), layers.Conv2D(10, 3)).json.replace("[3, 3]", "[9, 9]")
            ),
            "Keras cannot build",
            id="kernel larger than the image",
        ),
        pytest.param(
            lambda: KerasConfig(
                config(keras.Input((8, 8, 1)), layers.Dense(10)).json.replace('"units"', '"unit"')
            ),
            "Keras cannot build",
            id="unknown argument",
        ),
    ],
)
def test_a_config_that_does_not_fit_says_why(
    digits: Any, recipe: Callable[[], KerasConfig], message: str
) -> None:
    with pytest.raises(InvalidModel, match=message):
        model = build_model(recipe(), digits.transform, label_scale=None)
        task_of(model, digits.transform, label_scale=None)


def two_inputs() -> keras.Model:
    one, two = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([one, two], layers.Dense(10)(layers.Flatten()(one + two)))


def test_a_model_without_weights_to_train_is_refused(digits: Any) -> None:
    frozen = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10, trainable=False)])
    with pytest.raises(InvalidModel, match="no weights to train"):
        build_model(KerasConfig(frozen.to_json()), digits.transform, label_scale=None)


def test_a_lambda_layer_is_refused_before_it_is_built(digits: Any) -> None:
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Lambda(lambda x: x), layers.Flatten()])
    with pytest.raises(UnsafeModel, match="Lambda"):
        build_model(KerasConfig(model.to_json()), digits.transform, label_scale=None)
