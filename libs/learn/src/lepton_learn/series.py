"""Time series that were cut into records: what a record is, and the forecast that a model has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Services know of series too, and do without numpy.
    import numpy as np
    from numpy.typing import NDArray

HISTORY = "history"
"""Name of the column, and of the model's input, that holds a window: float32 [n, window, channels]."""
FORECAST = "forecast"
"""Name of a forecaster's output, FP32 [batch, horizon, quantiles], in the label's own unit."""
DEFAULT_QUANTILES = (0.1, 0.5, 0.9)
"""What is forecast where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """What the records of a series are about."""

    channels: tuple[str, ...]
    """The columns of the rows that a window holds; the label is the first."""
    season: int
    """Rows after which the series repeats itself, less than the window."""
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    """The quantiles that are forecast, in rising order."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "channels": list(self.channels),
            "season": self.season,
            "quantiles": list(self.quantiles),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Series":
        """The inverse of `to_dict`."""
        return cls(
            channels=tuple(document["channels"]),
            season=document["season"],
            quantiles=tuple(document["quantiles"]),
        )

    @property
    def median(self) -> int:
        """The place of the median among the quantiles, or of what is nearest to it."""
        return min(range(len(self.quantiles)), key=lambda place: abs(self.quantiles[place] - 0.5))


def seasonal_naive(history: "NDArray[np.floating]", *, season: int, horizon: int) -> "NDArray[np.floating]":
    """Repeat the last season.

    Args:
        history: of the label, [n, window].
        season: rows of a season, at most the window.
        horizon: rows to forecast.

    Returns:
        [n, horizon].
    """
    places = [history.shape[1] - season + step % season for step in range(horizon)]
    return history[:, places]
