"""Registered model versions that no inference server can serve, and what their endpoint must say."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lepton.model.v1 import model_pb2


@dataclass(frozen=True)
class BadModel:
    """A version, as bytes in the object store and as what is registered of them."""

    says: tuple[str, ...]
    """What the endpoint tells as the reason."""
    make: Callable[[], bytes]
    sha256: str = ""
    """The registered digest; empty for the right one."""
    key: str = ""
    """Where the bytes are said to be; empty for where they are."""
    signature: model_pb2.Signature | None = None


def double() -> bytes:
    """A model that doubles FP32 `x` [batch, 2] into `y`."""
    return model([helper.make_node("Add", ["x", "x"], ["y"])], ["batch", 2])


def model(nodes: list[onnx.NodeProto], shape: list[str | int], *weights: onnx.TensorProto) -> bytes:
    """An ONNX model of these nodes, from FP32 `x` to FP32 `y`, both of this shape."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        list(weights),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(made.SerializeToString())


def thief() -> bytes:
    """A model whose weights are the bytes of a file outside of it."""
    weight = numpy_helper.from_array(np.zeros(2, np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../../../../../../etc/passwd")
    return model([helper.make_node("Add", ["x", "w"], ["y"])], ["batch", 2], weight)


def stranger() -> bytes:
    """A model with an operator that nobody knows."""
    return model([helper.make_node("Evil", ["x"], ["y"], domain="com.example")], ["batch", 2])


def quarreller() -> bytes:
    """A model whose weights do not fit its input."""
    weight = numpy_helper.from_array(np.zeros((3, 2), np.float32), "w")
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["batch", 2], weight)


def signature(datatype: str) -> model_pb2.Signature:
    """One input `x` of a datatype."""
    return model_pb2.Signature(inputs=[model_pb2.TensorSignature(name="x", datatype=datatype, shape=[-1, 2])])


MODELS = {
    "bytes-that-are-no-model": BadModel(("cannot load model.onnx",), lambda: b"no model"),
    "a-truncated-model": BadModel(("cannot load model.onnx",), lambda: double()[:-20]),
    "an-unknown-operator": BadModel(("cannot load model.onnx",), stranger),
    "weights-from-another-file": BadModel(("cannot load model.onnx",), thief),
    "weights-that-do-not-fit": BadModel(("model.onnx",), quarreller),
    "another-digest": BadModel(("does not have the content that was recorded",), double, sha256="0" * 64),
    "no-bytes": BadModel(("'models/blobs/nothing'",), lambda: b"elsewhere", key="models/blobs/nothing"),
    "another-signature": BadModel(
        ("x FP32 [-1, 2]", "registered with x INT64 [-1, 2]"), double, signature=signature("INT64")
    ),
}
"""By the id of the model and of its endpoint."""

WIDE = BadModel((), lambda: model([helper.make_node("Add", ["x", "x"], ["y"])], ["batch", 1 << 20]))
"""A good model whose records have 4 MB each."""
