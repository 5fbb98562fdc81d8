"""Pictures of an evaluation, of everything that can happen to its figures."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lepton_learn.scores.report import classification_report, forecast_report, regression_report
from lepton_learn.series import Series
from lepton_trainer.worker.plots import draw

NAN = float("nan")
HISTORY = [{"loss": 1.0, "validation_loss": 1.2, "validation_accuracy": 0.5}, {"loss": 0.5}]
SLICES = {"sex": np.array(["f", "m", "$x$_{", "m"] * 50, object), "year": np.arange(200)}


def classification(classes: int, *, name: str = "class") -> dict[str, Any]:
    """An evaluation of guesses."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(classes), 200).astype(np.float32)
    return {"label": "kind"} | classification_report(
        np.arange(200) % classes,
        probabilities,
        np.ones(200, np.float32),
        classes=tuple(f"{name} {place}" for place in range(classes)),
        slices=SLICES,
    )


def regression(predictions: Any) -> dict[str, Any]:
    """An evaluation of predictions of a quantity."""
    losses = np.ones(200, np.float32)
    with np.errstate(all="ignore"):
        return {"label": "price in $"} | regression_report(
            np.arange(200.0), np.broadcast_to(predictions, 200).astype(np.float32), losses, slices=SLICES
        )


def forecasts(predictions: Any) -> dict[str, Any]:
    """An evaluation of forecasts of two rows."""
    history = np.arange(80, dtype=np.float32).reshape(10, 8, 1)
    with np.errstate(all="ignore"):
        return {"label": "price in $"} | forecast_report(
            history,
            history[:, -2:, 0] + 1,
            np.broadcast_to(predictions, (10, 2, 3)).astype(np.float32),
            np.ones(10, np.float32),
            series=Series(channels=("price",), season=4),
        )


CURVES, CLASSES = {"learning_curves"}, {"learning_curves", "confusion", "calibration", "slices"}
AMOUNTS = {"learning_curves", "predictions", "slices"}


@pytest.mark.parametrize(
    ("document", "names"),
    [
        pytest.param(None, CURVES, id="nothing was measured"),
        pytest.param(classification(2), CLASSES | {"roc"}, id="two classes"),
        pytest.param(classification(3, name="a long name with $ and _ in it"), CLASSES, id="long names"),
        pytest.param(classification(40), CLASSES, id="too many classes for numbers"),
        pytest.param(classification(150), CLASSES, id="too many classes for names"),
        pytest.param(classification(201), CLASSES - {"confusion"}, id="too many classes for a matrix"),
        pytest.param({**classification(2), "binary": None}, CLASSES, id="one of two classes alone"),
        pytest.param({**classification(2), "slices": []}, CLASSES - {"slices"} | {"roc"}, id="no slices"),
        pytest.param(regression(np.arange(200.0) + 1), AMOUNTS, id="a quantity"),
        pytest.param(regression(7.0), AMOUNTS, id="always the same"),
        pytest.param(regression(np.inf), AMOUNTS, id="infinite"),
        pytest.param(regression(np.nan), AMOUNTS, id="no numbers"),
        pytest.param(forecasts(40.0), CURVES | {"forecasts"}, id="forecasts"),
        pytest.param(forecasts(np.inf), CURVES | {"forecasts"}, id="infinite forecasts"),
        pytest.param(forecasts(np.nan), CURVES | {"forecasts"}, id="forecasts that are no numbers"),
    ],
)
def test_an_evaluation_is_drawn(document: dict[str, Any] | None, names: set[str]) -> None:
    with warnings.catch_warnings(record=True) as told:
        pictures = draw(document, HISTORY)
    assert not told
    assert {*pictures} == names
    for png in pictures.values():
        image = Image.open(io.BytesIO(png))
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 100 and max(image.size) < 4000


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([{"loss": 0.5}], id="one epoch"),
        pytest.param([{"loss": NAN}], id="not a number"),
        pytest.param([{"loss": 1.0}, {"loss": float("inf")}, {"loss": 1e300}], id="diverged"),
        pytest.param([{"loss": 1 / (1 + epoch)} for epoch in range(1000)], id="a thousand epochs"),
    ],
)
def test_learning_curves_are_drawn(history: Sequence[Mapping[str, float]]) -> None:
    with warnings.catch_warnings(record=True) as told:
        draw(None, history)
    assert not told


def test_equal_evaluations_have_equal_pictures() -> None:
    assert draw(classification(2), HISTORY) == draw(classification(2), HISTORY)
