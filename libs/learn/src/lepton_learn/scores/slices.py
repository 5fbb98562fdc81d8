"""Figures for parts of the records: is a model as good for all of them?

The gaps are differences between the slice that has most of something and the one that has least. Demographic
parity and equalized odds: Hardt, Price and Srebro, Equality of Opportunity in Supervised Learning, 2016.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_SLICES = 50
"""Slices of one column at most: those with most records."""
MOST_NUMBERS = 20
"""An integer column of more values is told by ranges of them."""
SMALL = 30
"""A slice of fewer records says little: it is marked, and no gap is measured with it."""
MOST_RANGES = 10
"""So many ranges with about as many records each, or fewer where they would be small; two at least."""


@dataclass(frozen=True)
class Slice:
    """The records that have one value, or one of a range of numbers."""

    value: str
    """The value; a range as `18 to 24`."""
    places: NDArray[np.int64]
    """Where the records are."""

    @property
    def is_small(self) -> bool:
        """Whether the records are too few to say much."""
        return len(self.places) < SMALL


def slices_of(column: NDArray[Any], *, most: int = MOST_SLICES) -> tuple[list[Slice], int]:
    """Part records by the values of a column.

    Args:
        column: int64 [n], or object [n] of str.
        most: slices at most.

    Returns:
        The slices in the order of their values, and how many others there are, which have fewer records.
    """
    values, places, records = np.unique(column, return_inverse=True, return_counts=True)
    if column.dtype.kind == "i" and len(values) > MOST_NUMBERS:
        ranges = max(2, min(MOST_RANGES, len(column) // SMALL))
        uppers = np.unique(np.quantile(column, np.arange(1, ranges + 1) / ranges, method="inverted_cdf"))
        range_of = np.searchsorted(uppers, values)
        lowers = values[np.searchsorted(range_of, np.arange(len(uppers)))]
        names = [
            str(lower) if lower == upper else f"{lower} to {upper}"
            for lower, upper in zip(lowers, uppers, strict=True)
        ]
        places, records = range_of[places], np.bincount(range_of, records).astype(np.int64)
    else:
        names = [str(value) for value in values]
    kept = np.sort(np.argsort(-records, kind="stable")[:most])
    by_value = np.split(np.argsort(places, kind="stable"), np.cumsum(records)[:-1])
    return [Slice(names[place], by_value[place]) for place in kept], len(names) - len(kept)


def binary_rates(positive: NDArray[np.bool_], told: NDArray[np.bool_]) -> dict[str, float | None]:
    """What a binary classifier does with records [n].

    Returns:
        `selection_rate`, the share told to be positive; `true_positive_rate` and `false_positive_rate`, that
        share of the positive and of the negative ones, None where there are none.
    """
    return {
        "selection_rate": float(told.mean()),
        "true_positive_rate": float(told[positive].mean()) if positive.any() else None,
        "false_positive_rate": float(told[~positive].mean()) if not positive.all() else None,
    }


def difference(slices: Sequence[Mapping[str, float | None]], name: str) -> float | None:
    """The largest difference in a figure between two slices; None unless two of them have it."""
    values = [value for figures in slices if (value := figures[name]) is not None]
    return max(values) - min(values) if len(values) > 1 else None


def binary_gaps(slices: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The gaps between slices that `binary_rates` were measured of.

    Returns:
        `demographic_parity_difference`, of the selection rates, and `equalized_odds_difference`, the larger
        one of those of true and false positive rates. None where fewer than two slices have the rates.
    """
    odds = [difference(slices, name) for name in ("true_positive_rate", "false_positive_rate")]
    known = [gap for gap in odds if gap is not None]
    return {
        "demographic_parity_difference": difference(slices, "selection_rate"),
        "equalized_odds_difference": max(known) if known else None,
    }
