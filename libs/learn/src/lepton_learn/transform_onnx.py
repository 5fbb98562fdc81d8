"""The fitted transform as an ONNX graph, operation for operation what `FittedTransform.inputs` computes."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lepton_learn.moments import Affine
from lepton_learn.schema import Column, ColumnType, Transform
from lepton_learn.signature import raw_shape
from lepton_learn.transform import FittedTransform
from lepton_learn.vocabulary import Vocabulary

OPSET = 18
"""Version of the ONNX operators: the newest that tf2onnx writes."""
ML_OPSET = 2
"""Version of the `ai.onnx.ml` operators, which look texts up."""
IR_VERSION = 8
"""The file format that belongs to them."""
INPUTS = "transform/inputs"
"""Name of the graph's only output."""

_ELEMENT_TYPES = {
    ColumnType.NUMBER: TensorProto.FLOAT,
    ColumnType.INTEGER: TensorProto.INT64,
    ColumnType.CATEGORY: TensorProto.STRING,
    ColumnType.IMAGE: TensorProto.UINT8,
    ColumnType.TENSOR: TensorProto.FLOAT,
}


class _Nodes:
    """Nodes of one column, each taking what the one before gave."""

    def __init__(self, column: Column) -> None:
        self._prefix = f"transform/{column.name}"
        self.last = column.name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operation: str, *operands: NDArray[Any], **attributes: Any) -> None:
        """Append a node; the operands become constants after its first input."""
        place = len(self.nodes)
        names = [f"{self._prefix}/{place}/{number}" for number in range(len(operands))]
        self.constants += [
            numpy_helper.from_array(operand, name) for operand, name in zip(operands, names, strict=True)
        ]
        output = f"{self._prefix}/{place}"
        self.nodes.append(
            helper.make_node(operation, [self.last, *names], [output], name=output + operation, **attributes)
        )
        self.last = output


def transform_graph(transform: FittedTransform) -> onnx.ModelProto:
    """The transform as a model.

    Its inputs are the raw feature columns under their names: float32, int64 or string [batch, 1]; uint8 or
    float32 [batch, *shape]. Its output is `INPUTS`, float32 [batch, *input_shape]: what a model is fed.
    """
    features = transform.schema.features
    columns = [_column(column, transform) for column in features]
    nodes = [node for column in columns for node in column.nodes]
    constants = [constant for column in columns for constant in column.constants]
    lasts = [column.last for column in columns]
    if len(lasts) == 1:
        nodes.append(helper.make_node("Identity", lasts, [INPUTS], name=INPUTS))
    else:
        nodes.append(helper.make_node("Concat", lasts, [INPUTS], name=INPUTS, axis=1))
    graph = helper.make_graph(
        nodes,
        "transform",
        [
            helper.make_tensor_value_info(
                column.name, _ELEMENT_TYPES[column.type], ["batch", *raw_shape(column)]
            )
            for column in features
        ],
        [helper.make_tensor_value_info(INPUTS, TensorProto.FLOAT, ["batch", *transform.input_shape])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain for node in nodes):
        opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lepton")


def _column(column: Column, transform: FittedTransform) -> _Nodes:
    nodes, fitted = _Nodes(column), transform.fitted[column.name]
    if isinstance(fitted, Vocabulary):
        _look_up(nodes, column, fitted)
    else:
        _scale(nodes, column, fitted)
    if len(transform.schema.features) > 1 and len(column.shape) > 1:
        nodes.add("Flatten", axis=1)
    return nodes


def _scale(nodes: _Nodes, column: Column, affine: Affine) -> None:
    computed = TensorProto.DOUBLE if affine.exact else TensorProto.FLOAT
    if _ELEMENT_TYPES[column.type] != computed:
        nodes.add("Cast", to=computed)
    if affine.offset.any():
        nodes.add("Sub", affine.offset.astype(affine.dtype))
    if not affine.is_identity:
        nodes.add("Mul", affine.scale.astype(affine.dtype))
    if affine.exact:
        nodes.add("Cast", to=TensorProto.FLOAT)


def _look_up(nodes: _Nodes, column: Column, vocabulary: Vocabulary) -> None:
    keys = "keys_strings" if column.type is ColumnType.CATEGORY else "keys_int64s"
    nodes.add(
        "LabelEncoder",
        domain="ai.onnx.ml",
        **{keys: list(vocabulary.values)},
        values_int64s=list(range(len(vocabulary.values))),
        default_int64=len(vocabulary.values),
    )
    if column.transform is Transform.ONE_HOT:
        nodes.add("Equal", np.arange(len(vocabulary.values), dtype=np.int64))
    nodes.add("Cast", to=TensorProto.FLOAT)
