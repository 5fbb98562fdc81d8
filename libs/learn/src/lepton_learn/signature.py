"""What an exported model takes and gives, told from the fitted transform alone."""

from typing import Any

from lepton_learn.schema import PREDICTION, PROBABILITIES, Column, ColumnType
from lepton_learn.series import FORECAST
from lepton_learn.transform import FittedTransform

DATATYPES = {
    ColumnType.NUMBER: "FP32",
    ColumnType.INTEGER: "INT64",
    ColumnType.CATEGORY: "BYTES",
    ColumnType.IMAGE: "UINT8",
    ColumnType.TENSOR: "FP32",
}
"""Datatype of the Open Inference Protocol of each column type's raw values."""


def raw_shape(column: Column) -> tuple[int, ...]:
    """The shape of one raw value as a model takes it: [1] for numbers, integers and categories."""
    return column.shape or (1,)


def output_name(transform: FittedTransform) -> str:
    """The name of a model's only output."""
    if transform.schema.series is not None:
        return FORECAST
    return PROBABILITIES if transform.classes else PREDICTION


def signature(transform: FittedTransform) -> dict[str, Any]:
    """The inputs, outputs and classes of a model that takes raw records.

    Returns:
        `{"inputs": [{"name", "datatype", "shape"}], "outputs": [...], "classes": [...], "quantiles": [...]}`,
        the batch being -1.
    """
    series = transform.schema.series
    return {
        "inputs": [
            {"name": column.name, "datatype": DATATYPES[column.type], "shape": [-1, *raw_shape(column)]}
            for column in transform.schema.features
        ],
        "outputs": [
            {"name": output_name(transform), "datatype": "FP32", "shape": [-1, *transform.output_shape]}
        ],
        "classes": list(transform.classes),
        "quantiles": list(series.quantiles) if series is not None else [],
    }
