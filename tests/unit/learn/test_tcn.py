"""A forecaster starts from the last season, sees its whole window, and knows no level and no unit."""

from typing import Any

import keras
import numpy as np
import pytest

from lepton_common.errors import InvalidModel
from lepton_learn.examples import LabelScale
from lepton_learn.families import build_model
from lepton_learn.recipe import KerasConfig, Tcn
from lepton_learn.schema import Column, ColumnType, Schema, Transform
from lepton_learn.series import HISTORY, Series, seasonal_naive
from lepton_learn.task import Forecast, task_of
from lepton_learn.tcn import blocks_for
from lepton_learn.transform import FittedTransform

SCALE = LabelScale(0.0, 2.0)

# Keras 3.15 asks TensorFlow's variables for their values in a way that numpy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


def transform(*, window: int = 24, horizon: int = 6, season: int = 4, channels: int = 1) -> FittedTransform:
    """Of windows of series."""
    columns = (
        Column(
            name=HISTORY,
            type=ColumnType.TENSOR,
            transform=Transform.IDENTITY,
            shape=(window, channels),
        ),
        Column(name="y", type=ColumnType.TENSOR, transform=Transform.IDENTITY, shape=(horizon,)),
    )
    names = tuple(f"c{place}" for place in range(channels))
    schema = Schema(columns, "y", Series(channels=names, season=season))
    records = {HISTORY: windows(2, window, channels), "y": np.zeros((2, horizon), np.float32)}
    return FittedTransform.fit(schema, [records])


def windows(count: int, window: int = 24, channels: int = 1) -> Any:
    """Windows about 50."""
    return np.random.default_rng(0).normal(50, 5, (count, window, channels)).astype(np.float32)


def shaken(model: keras.Model) -> keras.Model:
    """The model with other weights than the first, which are 0 in part."""
    random = np.random.default_rng(1)
    model.set_weights([weight + random.normal(0, 0.2, weight.shape) for weight in model.get_weights()])
    return model


def ask(model: keras.Model, history: Any) -> Any:
    return model(history, training=False).numpy()


def test_forecasts_are_quantiles_of_each_row_that_never_cross() -> None:
    model = shaken(build_model(Tcn(), transform(channels=2), label_scale=SCALE))
    forecasts = ask(model, windows(200, channels=2))
    assert forecasts.shape == (200, 6, 3)
    assert (np.diff(forecasts, axis=-1) >= 0).all()


def test_without_what_is_learnt_it_repeats_the_last_season() -> None:
    model = build_model(Tcn(), transform(), label_scale=SCALE)
    for layer in model.layers:
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    history = windows(5)
    lowest = ask(model, history)[..., 0]
    naive = seasonal_naive(history[:, :, 0], season=4, horizon=6)
    np.testing.assert_allclose(lowest, naive, rtol=1e-5)


def test_a_series_of_another_level_and_unit_is_forecast_alike() -> None:
    model = shaken(build_model(Tcn(), transform(channels=2), label_scale=SCALE))
    history = windows(20, channels=2)
    other = history * np.float32(64) + np.float32(1024)
    np.testing.assert_allclose(ask(model, other), ask(model, history) * 64 + 1024, rtol=1e-3)


def test_a_window_that_does_not_vary_is_forecast_to_stay() -> None:
    model = shaken(build_model(Tcn(), transform(), label_scale=SCALE))
    forecasts = ask(model, np.full((1, 24, 1), 7, np.float32))
    np.testing.assert_allclose(forecasts, 7, atol=1e-3)


@pytest.mark.parametrize(
    ("window", "kernel_size", "blocks"),
    [(5, 3, 1), (6, 3, 2), (24, 3, 3), (168, 3, 6), (168, 7, 4), (9, 1, 1)],
)
def test_blocks_are_as_many_as_the_window_takes(window: int, kernel_size: int, blocks: int) -> None:
    assert blocks_for(window, kernel_size) == blocks


def test_the_whole_window_is_seen() -> None:
    model = shaken(build_model(Tcn(dropout=0.0), transform(channels=2), label_scale=SCALE))
    history = windows(1, channels=2)
    for row in range(24):
        changed = history.copy()
        # The second channel reaches the forecast through the convolutions alone.
        changed[0, row, 1] += 20
        assert np.abs(ask(model, changed) - ask(model, history)).max() > 1e-4, row


def test_the_loss_is_the_pinball_loss_in_units_of_the_deviation() -> None:
    fitted = transform(horizon=2)
    task = task_of(build_model(Tcn(), fitted, label_scale=SCALE), fitted, label_scale=SCALE)
    assert isinstance(task, Forecast)
    labels = np.array([[4.0, 0.0]], np.float32)
    outputs = np.array([[[2, 4, 6], [2, 2, 2]]], np.float32)
    expected = (0.1 * 1 + 0 + 0.1 * 1 + (0.9 + 0.5 + 0.1) * 1) / 6
    np.testing.assert_allclose(task.losses(labels, outputs), [expected], rtol=1e-6)


def test_other_records_are_refused(digits: Any) -> None:
    with pytest.raises(InvalidModel, match="schema names no series"):
        build_model(Tcn(), digits.transform, label_scale=None)


@pytest.mark.parametrize(("units", "fits"), [((6, 3), True), ((6,), False)], ids=["fits", "no quantiles"])
def test_a_config_of_ones_own_must_give_the_quantiles(units: tuple[int, ...], fits: bool) -> None:
    inputs = keras.Input((24, 1))
    outputs = keras.layers.Dense(int(np.prod(units)))(keras.layers.Flatten()(inputs))
    config = KerasConfig(keras.Model(inputs, keras.layers.Reshape(units)(outputs)).to_json())
    if fits:
        assert build_model(config, transform(), label_scale=SCALE).output_shape == (None, 6, 3)
        return
    with pytest.raises(InvalidModel, match=r"must give \[6, 3\], the quantiles of each row"):
        build_model(config, transform(), label_scale=SCALE)
