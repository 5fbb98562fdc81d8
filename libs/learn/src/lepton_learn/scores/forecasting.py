"""How good forecasts are, in the label's own unit and beside the repetition of the last season.

Pinball loss: Koenker and Bassett, 1978. MASE: Hyndman and Koehler, 2006. RMSSE: Makridakis et al., 2022.
"""

import numpy as np
from numpy.typing import NDArray

from lepton_learn.series import Series, seasonal_naive


def quantile_loss(
    truth: NDArray[np.float32], forecasts: NDArray[np.float32], quantiles: tuple[float, ...]
) -> float:
    """The mean pinball loss max(q (y - f), (q - 1) (y - f)).

    Args:
        truth: [n, horizon].
        forecasts: [n, horizon, quantiles].
        quantiles: their levels q.
    """
    levels = np.asarray(quantiles)
    errors = truth.astype(np.float64)[..., np.newaxis] - forecasts
    return float(np.maximum(levels * errors, (levels - 1) * errors).mean())


def naive_quantile_loss(history: NDArray[np.float32], truth: NDArray[np.float32], series: Series) -> float:
    """The mean pinball loss of telling the value one season before for every quantile.

    Args:
        history: windows [n, window, channels].
        truth: [n, horizon].
        series: what they are cut from.
    """
    naive = seasonal_naive(history[:, :, 0], season=series.season, horizon=truth.shape[1])
    return quantile_loss(truth, naive[..., np.newaxis], series.quantiles)


def forecast_figures(
    history: NDArray[np.float32],
    truth: NDArray[np.float32],
    forecasts: NDArray[np.float32],
    series: Series,
) -> dict[str, float]:
    """All figures of n > 0 forecasts.

    Args:
        history: raw windows [n, window, channels].
        truth: what came, [n, horizon].
        forecasts: [n, horizon, quantiles].
        series: what they are cut from.

    Returns:
        `quantile_loss`; of the median `mae`, `smape` (0 to 2), `mase` and `rmsse`; `coverage`, the share
        of what came that lies between the outermost quantiles; `naive_quantile_loss` and `naive_mae`, of the
        value one season before, and `mae_ratio`, the median's `mae` as a share of the latter: below 1 the
        model is of use. What has no meaning, as a ratio to a repetition that is never off, is left out.
    """
    label, came = history[:, :, 0].astype(np.float64), truth.astype(np.float64)
    median = forecasts[..., series.median].astype(np.float64)
    naive = seasonal_naive(history[:, :, 0], season=series.season, horizon=truth.shape[1])
    errors = np.abs(came - median)
    figures = {
        "quantile_loss": quantile_loss(truth, forecasts, series.quantiles),
        "naive_quantile_loss": quantile_loss(truth, naive[..., np.newaxis], series.quantiles),
        "mae": float(errors.mean()),
        "smape": _smape(came, median),
        "coverage": float(((forecasts[..., 0] <= truth) & (truth <= forecasts[..., -1])).mean()),
        "naive_mae": float(np.abs(came - naive).mean()),
    }
    if figures["naive_mae"] > 0:
        figures["mae_ratio"] = figures["mae"] / figures["naive_mae"]
    # A window's own seasonal changes are the scale of its errors; one without any has none.
    changes = np.abs(label[:, series.season :] - label[:, : -series.season])
    scaled = changes.any(axis=1)
    if scaled.any():
        errors, changes = errors[scaled], changes[scaled]
        figures["mase"] = float((errors.mean(axis=1) / changes.mean(axis=1)).mean())
        squares = (errors**2).mean(axis=1) / (changes**2).mean(axis=1)
        figures["rmsse"] = float(np.sqrt(squares).mean())
    return figures


def _smape(truth: NDArray[np.float64], forecasts: NDArray[np.float64]) -> float:
    sizes = np.abs(truth) + np.abs(forecasts)
    # Where both are zero the forecast is right.
    return float((2 * np.abs(truth - forecasts) / np.where(sizes > 0, sizes, 1)).mean())
