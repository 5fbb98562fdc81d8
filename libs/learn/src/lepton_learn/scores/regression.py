"""How far predicted quantities are from the true ones."""

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Shares of the residuals that are told."""


def regression_figures(truth: NDArray[np.float64], predictions: NDArray[np.float32]) -> dict[str, float]:
    """Mean squared error, mean absolute error and the share of the variance explained, of values [n].

    Where the truth does not vary, `r2` is 0: nothing is there to be explained.
    """
    errors = residuals(truth, predictions)
    variance = float(truth.var())
    mse = float((errors**2).mean())
    return {
        "mse": mse,
        "mae": float(np.abs(errors).mean()),
        "r2": 1 - mse / variance if variance > 0 else 0.0,
    }


def residuals(truth: NDArray[np.float64], predictions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Predicted less true values [n]: above 0 where too much was told."""
    return predictions.astype(np.float64) - truth


def residual_quantiles(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The residuals that these `QUANTILES` of all of them [n] do not exceed: float64 [quantiles]."""
    return np.quantile(errors, QUANTILES, method="inverted_cdf")


def sample(count: int, *, most: int) -> NDArray[np.int64]:
    """Places of at most `most` of `count` records, in order; always the same ones."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
