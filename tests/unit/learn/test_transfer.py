"""A training that begins with another model's weights: what it takes over, what is frozen, what it gains."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_common.errors import InvalidModel
from lepton_learn.families import build_model
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.recipe import Architecture, Cnn, Convergence, KerasConfig, Mlp, Optimizer, Recipe
from lepton_learn.task import task_of
from lepton_learn.transfer import transfer
from lepton_learn.transform import FittedTransform

layers = keras.layers
CNN = Cnn(filters=(8, 16), dense_units=32)


def parities(digits: Any, records: int) -> Any:
    """Whether a digit is odd: the same images with another question, and few to learn it from."""
    raw = {
        split: {**batch, "digit": batch["digit"] % 2} for split, batch in digits.first(records).raw.items()
    }
    return type(digits)(FittedTransform.fit(digits.transform.schema, [raw[Split.TRAIN]]), raw)


def trained(data: Any, recorder: Any, model: keras.Model, *, epochs: int) -> None:
    train(
        model,
        task_of(model, data.transform, label_scale=None),
        recipe=Recipe(
            architecture=CNN,
            optimizer=Optimizer(learning_rate=0.005),
            max_epochs=epochs,
            convergence=Convergence(patience=0),
        ),
        training=data[Split.TRAIN],
        validation=data[Split.VALIDATION],
        observer=recorder,
    )


def weights(model: keras.Model) -> Mapping[str, NDArray[np.float32]]:
    return {weight.path: weight.numpy() for weight in model.weights}


def test_with_what_one_question_taught_another_takes_few_steps(digits: Any, stopping_after: Any) -> None:
    seed_everything(0)
    base = build_model(CNN, digits.transform, label_scale=None)
    trained(digits, stopping_after(10**9), base, epochs=5)

    few, accuracies = parities(digits, 64), []
    for helped in (True, False):
        seed_everything(1)
        model = build_model(CNN, few.transform, label_scale=None)
        if helped:
            assert "logits" not in transfer(model, base, freeze=True)
        observer = stopping_after(10**9)
        before = weights(model)
        trained(few, observer, model, epochs=5)
        after = weights(model)
        changed = {path for path in before if not np.array_equal(before[path], after[path])}
        assert changed == ({"logits/kernel", "logits/bias"} if helped else set(before))
        accuracies.append(observer.metrics["validation_accuracy"][-1][1])
    assert accuracies[0] > accuracies[1] + 0.2


def test_layers_are_taken_over_by_name_and_shape(digits: Any) -> None:
    base = build_model(CNN, digits.transform, label_scale=None)
    model = build_model(Cnn(filters=(8, 24), dense_units=32), digits.transform, label_scale=None)
    before = weights(model)
    assert transfer(model, base, freeze=False) == ("convolution_0", "normalization_0", "logits")
    for path, value in weights(model).items():
        same = path.split("/")[0] in ("convolution_0", "normalization_0", "logits")
        np.testing.assert_array_equal(value, weights(base)[path] if same else before[path])
    assert len(model.trainable_variables) == len(base.trainable_variables)


def test_layers_of_a_model_within_the_model_are_taken_over_too(digits: Any) -> None:
    def config(width: int) -> Architecture:
        inner = keras.Sequential([keras.Input((64,)), layers.Dense(8, name="first")], name="body")
        parts = [keras.Input((8, 8, 1)), layers.Flatten(), inner, layers.Dense(width), layers.Dense(10)]
        return KerasConfig(keras.Sequential(parts).to_json())

    base = build_model(config(5), digits.transform, label_scale=None)
    model = build_model(config(6), digits.transform, label_scale=None)
    assert transfer(model, base, freeze=True) == ("body/first",)
    assert len(model.trainable_variables) == 4
    np.testing.assert_array_equal(
        model.get_layer("body").get_weights()[0], base.get_layer("body").get_weights()[0]
    )


def test_a_base_without_a_layer_that_fits_is_refused(digits: Any, breast_cancer: Any) -> None:
    base = build_model(Mlp(hidden_units=(4, 4)), breast_cancer.transform, label_scale=None)
    model = build_model(CNN, digits.transform, label_scale=None)
    with pytest.raises(InvalidModel, match=r"it has 'dense_0', 'dense_1', 'logits'; this one has 'convolu"):
        transfer(model, base, freeze=False)


def test_a_model_whose_head_is_not_trainable_cannot_have_the_rest_frozen(digits: Any) -> None:
    parts = [
        keras.Input((8, 8, 1)),
        layers.Flatten(),
        layers.Dense(4, name="body"),
        layers.Dense(10, trainable=False),
    ]
    recipe = KerasConfig(keras.Sequential(parts).to_json())
    base = build_model(recipe, digits.transform, label_scale=None)
    model = build_model(recipe, digits.transform, label_scale=None)
    with pytest.raises(InvalidModel, match="no weights left to train"):
        transfer(model, base, freeze=True)
