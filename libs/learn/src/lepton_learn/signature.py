"""What an exported model takes and gives, told from the fitted transform alone."""

from typing import Any

from lepton_learn.schema import PREDICTION, PROBABILITIES, Column, ColumnType
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


def signature(transform: FittedTransform) -> dict[str, Any]:
    """The inputs, outputs and classes of a model that takes raw records.

    Returns:
        `{"inputs": [{"name", "datatype", "shape"}], "outputs": [...], "classes": [...]}`, the batch being -1.
    """
    classes = transform.classes
    output = (PROBABILITIES, len(classes)) if classes else (PREDICTION, 1)
    return {
        "inputs": [
            {"name": column.name, "datatype": DATATYPES[column.type], "shape": [-1, *raw_shape(column)]}
            for column in transform.schema.features
        ],
        "outputs": [{"name": output[0], "datatype": "FP32", "shape": [-1, output[1]]}],
        "classes": list(classes),
    }
