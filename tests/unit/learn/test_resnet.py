"""Residual networks have the shapes that the paper gives them, and learn."""

from typing import Any

import keras
import numpy as np
import pytest

from lepton_common.errors import InvalidModel
from lepton_learn.families import build_model
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.moments import Affine
from lepton_learn.recipe import Augmentation, Optimizer, Recipe, ResNet, Schedule
from lepton_learn.schema import Column, ColumnType, Schema, Transform
from lepton_learn.task import task_of
from lepton_learn.transform import Fitted, FittedTransform
from lepton_learn.vocabulary import Vocabulary

# Keras 3.15 asks TensorFlow's variables for their values in a way that numpy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


def images(size: int, *, classes: int) -> FittedTransform:
    """The transform of colour images of size x size pixels."""
    columns = (
        Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(size, size, 3)),
        Column(name="label", type=ColumnType.INTEGER, transform=Transform.INDEX),
    )
    pixels = Affine(offset=np.zeros(()), scale=np.full((), 1 / 255), exact=False)
    fitted: dict[str, Fitted] = {"image": pixels, "label": Vocabulary(tuple(range(classes)))}
    return FittedTransform(Schema(columns, "label"), fitted)


@pytest.mark.parametrize(
    ("recipe", "size", "classes", "parameters"),
    [
        # Table 6 of the paper says 0.27M; the 1x1 convolutions of two shortcuts are 2,752 of ours.
        (ResNet(), 32, 10, 269_722 + 2_752),
        (ResNet(images="large", depth=18, filters=64), 224, 1000, 11_689_512),
        (ResNet(images="large", depth=50, filters=64), 224, 1000, 25_557_032),
    ],
    ids=["20 for small images", "18 for large images", "50 for large images"],
)
def test_a_resnet_has_as_many_weights_as_the_papers(
    recipe: ResNet, size: int, classes: int, parameters: int
) -> None:
    model = build_model(recipe, images(size, classes=classes), label_scale=None)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_variables) == parameters
    assert _depth(model) == recipe.depth
    assert model.get_layer("mean").input.shape[1] == (7 if recipe.images == "large" else 8)


def _depth(model: keras.Model) -> int:
    """Layers with weights on the longest way through the network."""
    counted = (keras.layers.Conv2D, keras.layers.Dense)
    return sum(isinstance(layer, counted) and "shortcut" not in layer.name for layer in model.layers)


def test_a_block_adds_to_its_input(digits: Any) -> None:
    model = build_model(ResNet(depth=8, filters=4), digits.transform, label_scale=None)
    model.get_layer("stage_0_block_0_b_normalization").gamma.assign(np.zeros(4))
    parts = [model.get_layer(name).output for name in ("stem_relu", "stage_0_block_0_relu")]
    before, after = keras.Model(model.input, parts)(digits[Split.TEST].take(np.arange(3))[0])
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("recipe", [ResNet(depth=21), ResNet(depth=2), ResNet(images="large", depth=20)])
def test_a_depth_that_the_paper_has_no_network_of_is_refused(digits: Any, recipe: ResNet) -> None:
    with pytest.raises(InvalidModel, match=f"no resnet of depth {recipe.depth}"):
        build_model(recipe, digits.transform, label_scale=None)


def test_a_resnet_refuses_a_table(breast_cancer: Any) -> None:
    with pytest.raises(InvalidModel, match=r"a resnet takes one feature .* an mlp takes them"):
        build_model(ResNet(), breast_cancer.transform, label_scale=None)


def test_a_small_resnet_learns_to_read_digits(digits: Any, recorder: Any) -> None:
    recipe = Recipe(
        architecture=ResNet(depth=8, filters=8),
        optimizer=Optimizer(
            kind="sgd",
            learning_rate=0.1,
            momentum=0.9,
            weight_decay=5e-4,
            schedule=Schedule(warmup_steps=20, decay="cosine"),
        ),
        max_epochs=5,
        augmentation=Augmentation(shift=1),
    )
    seed_everything(0)
    model = build_model(recipe.architecture, digits.transform, label_scale=None)
    train(
        model,
        task_of(model, digits.transform, label_scale=None),
        recipe=recipe,
        training=digits[Split.TRAIN],
        validation=digits[Split.VALIDATION],
        observer=recorder,
    )
    assert recorder.metrics["validation_accuracy"][-1][1] > 0.9
