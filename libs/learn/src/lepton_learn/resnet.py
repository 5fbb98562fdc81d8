"""Residual networks: He et al., Deep Residual Learning for Image Recognition, 2015.

A block learns what has to be added to its input: y = relu(F(x) + x). Where F changes the shape, x goes
through a convolution of 1x1 of the same stride (option B of the paper).
"""

from typing import Any

import keras

from lepton_common.errors import InvalidModel
from lepton_learn.examples import LabelScale
from lepton_learn.layers import convolution, head, image_input, normalization
from lepton_learn.recipe import ResNet
from lepton_learn.transform import FittedTransform

# From so many layers on the blocks for large images are bottlenecks.
_FIRST_BOTTLENECK = 50
# A bottleneck gives four times as many channels as its 3x3 convolution has.
_EXPANSION = 4


def build_resnet(
    recipe: ResNet, transform: FittedTransform, *, label_scale: LabelScale | None
) -> keras.Model:
    """The residual network for small images (section 4.2 of the paper), or for large ones (table 1).

    For small images: a convolution of 3x3, then three stages of (depth - 2) / 6 blocks of two convolutions
    each, with 1, 2 and 4 times the recipe's filters. For large ones: a convolution of 7x7 and a pooling, both
    of stride 2, then four stages with 1, 2, 4 and 8 times the filters. Each stage but the first halves height
    and width; at the end stands the mean over all places.

    Raises:
        InvalidModel: the features are not one image, or a tensor of its rank; or there is no network of the
            recipe's depth.
    """
    if not recipe.stages:
        raise InvalidModel(f"there is no resnet of depth {recipe.depth} for {recipe.images} images")
    inputs = x = image_input("resnet", transform)
    if recipe.images == "large":
        x = _normalized(convolution(x, recipe.filters, 7, strides=2, name="stem"), "stem")
        x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pooling")(x)
    else:
        x = _normalized(convolution(x, recipe.filters, 3, name="stem"), "stem")
    bottlenecks = recipe.images == "large" and recipe.depth >= _FIRST_BOTTLENECK
    block = _bottleneck if bottlenecks else _basic
    for stage, blocks in enumerate(recipe.stages):
        for place in range(blocks):
            strides = 2 if stage > 0 and place == 0 else 1
            x = block(x, recipe.filters * 2**stage, strides=strides, name=f"stage_{stage}_block_{place}")
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, head(x, transform, label_scale), name="resnet")


def _basic(x: Any, filters: int, *, strides: int, name: str) -> Any:
    """Two convolutions of 3x3."""
    y = _normalized(convolution(x, filters, 3, strides=strides, name=f"{name}_a"), f"{name}_a")
    y = normalization(convolution(y, filters, 3, name=f"{name}_b"), name=f"{name}_b_normalization")
    return _added(x, y, strides=strides, name=name)


def _bottleneck(x: Any, filters: int, *, strides: int, name: str) -> Any:
    """A convolution of 1x1 that narrows, one of 3x3, and one of 1x1 that widens.

    The stride is that of the 3x3 one: with that of the first, as in the paper, three of four values would
    not be looked at.
    """
    y = _normalized(convolution(x, filters, 1, name=f"{name}_a"), f"{name}_a")
    y = _normalized(convolution(y, filters, 3, strides=strides, name=f"{name}_b"), f"{name}_b")
    y = convolution(y, _EXPANSION * filters, 1, name=f"{name}_c")
    return _added(x, normalization(y, name=f"{name}_c_normalization"), strides=strides, name=name)


def _added(x: Any, y: Any, *, strides: int, name: str) -> Any:
    if x.shape[1:] != y.shape[1:]:
        x = convolution(x, y.shape[-1], 1, strides=strides, name=f"{name}_shortcut")
        x = normalization(x, name=f"{name}_shortcut_normalization")
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_sum")([x, y]))


def _normalized(x: Any, name: str) -> Any:
    return keras.layers.ReLU(name=f"{name}_relu")(normalization(x, name=f"{name}_normalization"))
