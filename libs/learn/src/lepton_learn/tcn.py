"""A temporal convolutional network that forecasts quantiles: Bai, Kolter and Koltun, 2018.

The model scales each window by the window's own mean and spread, and its forecast back (Kim et al., 2022), so
that series of any level and unit are alike to it, and a trend does not lead out of what it has seen. It
starts from the last season, repeated, and learns what to add to that: by the convolutions, and by a linear
layer over the label's history (Lai et al., 2018). Quantiles are sums of positive steps, so they never cross.
"""

from typing import Any

import keras
from keras import layers, ops

from lepton_common.errors import InvalidModel
from lepton_learn.recipe import Tcn
from lepton_learn.transform import FittedTransform

_LEAST_SPREAD = 1e-6
"""A window that varies less counts as constant."""


def build_tcn(recipe: Tcn, transform: FittedTransform) -> keras.Model:
    """Build the network: float32 [batch, window, channels] to [batch, horizon, quantiles], both in raw units.

    Raises:
        InvalidModel: the records are no windows of series.
    """
    if transform.schema.series is None:
        raise InvalidModel("a tcn forecasts time series; the dataset's schema names no series")
    horizon, quantiles = transform.output_shape
    inputs = keras.Input(transform.input_shape, name="features")
    mean = ops.mean(inputs, axis=1, keepdims=True)
    centred = ops.subtract(inputs, mean)
    spread = ops.maximum(ops.sqrt(ops.mean(ops.square(centred), axis=1, keepdims=True)), _LEAST_SPREAD)
    scaled = ops.divide(centred, spread)

    x = scaled
    for block in range(recipe.blocks or blocks_for(transform.input_shape[0], recipe.kernel_size)):
        x = _residual(x, recipe, block=block)
    # The last row has seen all others.
    x = layers.Dense(horizon * quantiles, dtype="float32", name="steps")(x[:, -1, :])
    x = layers.Reshape((horizon, quantiles), name="steps_by_row")(x)
    label = scaled[:, :, 0]
    change = layers.Dense(horizon, kernel_initializer="zeros", dtype="float32", name="linear")(label)
    repeated = _repeated(label, season=transform.schema.series.season, horizon=horizon)
    lowest = ops.add(x[:, :, :1], ops.expand_dims(ops.add(change, repeated), -1))
    x = ops.cumsum(ops.concatenate([lowest, ops.softplus(x[:, :, 1:])], axis=-1), axis=-1)
    forecast = ops.add(ops.multiply(x, spread[:, :, :1]), mean[:, :, :1])
    return keras.Model(inputs, forecast, name="tcn")


def blocks_for(window: int, kernel_size: int) -> int:
    """How many blocks it takes for the last row to see the whole window.

    A block b of two convolutions with dilation 2^b adds 2 (kernel_size - 1) 2^b rows to what is seen.
    """
    blocks = 1
    while 1 + 2 * (kernel_size - 1) * (2**blocks - 1) < window and kernel_size > 1:
        blocks += 1
    return blocks


def _repeated(label: Any, *, season: int, horizon: int) -> Any:
    """The last season of windows [batch, window], repeated: [batch, horizon]."""
    last = label[:, label.shape[1] - season :]
    return ops.concatenate([last] * -(-horizon // season), axis=1)[:, :horizon]


def _residual(x: Any, recipe: Tcn, *, block: int) -> Any:
    inner = x
    for place in range(2):
        inner = layers.Conv1D(
            recipe.filters,
            recipe.kernel_size,
            padding="causal",
            dilation_rate=2**block,
            kernel_initializer="he_normal",
            name=f"convolution_{block}_{place}",
        )(inner)
        inner = layers.ReLU(name=f"relu_{block}_{place}")(inner)
        if recipe.dropout > 0:
            inner = layers.SpatialDropout1D(recipe.dropout, name=f"dropout_{block}_{place}")(inner)
    if x.shape[-1] != recipe.filters:
        x = layers.Conv1D(recipe.filters, 1, name=f"shortcut_{block}")(x)
    return layers.ReLU(name=f"relu_{block}")(layers.Add(name=f"sum_{block}")([x, inner]))
