"""Texts to numbers, whole columns at a time; the slow way only for batches that hold a bad cell."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_EXACT_IN_FLOAT64 = 2.0**53


def parse_numbers(cells: pa.StringArray) -> NDArray[np.float64]:
    """Real numbers in decimal notation.

    Args:
        cells: [n], none missing.

    Returns:
        float64 [n]; NaN where a cell is no number.
    """
    try:
        return pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return np.fromiter((_number(cell) for cell in cells.to_pylist()), np.float64, len(cells))


def parse_integers(cells: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Whole numbers in decimal notation; `3.0` is one too.

    Args:
        cells: [n], none missing.

    Returns:
        int64 [n] and bool [n], false where a cell is no whole number of 64 bits; the value is then 0.
    """
    try:
        # Arrow takes hexadecimal too; only the slow way below refuses it.
        if not pc.any(pc.match_substring(cells, "x", ignore_case=True)).as_py():
            return pc.cast(cells, pa.int64()).to_numpy(zero_copy_only=False), np.ones(len(cells), np.bool_)
    except pa.ArrowInvalid:
        pass
    parsed = [_integer(cell) for cell in cells.to_pylist()]
    good = np.fromiter((value is not None for value in parsed), np.bool_, len(parsed))
    return np.fromiter((value or 0 for value in parsed), np.int64, len(parsed)), good


def _number(cell: str | None) -> float:
    # Python would also take digits grouped by underscores.
    if cell is None or "_" in cell:
        return np.nan
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _integer(cell: str | None) -> int | None:
    if cell is None:
        return None
    if cell.lstrip("+-").isdecimal() and len(cell) < 24:
        try:
            value = int(cell)
        except ValueError:
            return None
        return value if -(2**63) <= value < 2**63 else None
    number = _number(cell)
    return int(number) if number.is_integer() and abs(number) <= _EXACT_IN_FLOAT64 else None
