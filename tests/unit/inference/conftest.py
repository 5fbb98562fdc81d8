"""Real ONNX models, small enough to be built in every test."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_inference.catalogue import Version

Dimensions: TypeAlias = Sequence[int | str]
Write: TypeAlias = Callable[..., Path]


@pytest.fixture
def write_graph(tmp_path: Path) -> Write:
    """A function that writes `model.onnx` with these nodes, inputs and outputs, and gives its path."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        inputs: dict[str, tuple[int, Dimensions]],
        outputs: dict[str, tuple[int, Dimensions]],
        weights: dict[str, ArrayLike] | None = None,
    ) -> Path:
        def values(tensors: dict[str, tuple[int, Dimensions]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(name, *tensor) for name, tensor in tensors.items()]

        graph = helper.make_graph(
            nodes,
            "graph",
            values(inputs),
            values(outputs),
            [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def write_scaler(write_graph: Write) -> Callable[[float], Path]:
    """A function that writes a model which multiplies FP32 `x` [batch, 2] by a factor into `y`."""

    def write(factor: float = 2.0) -> Path:
        return write_graph(
            [helper.make_node("Mul", ["x", "factor"], ["y"])],
            {"x": (onnx.TensorProto.FLOAT, ["batch", 2])},
            {"y": (onnx.TensorProto.FLOAT, ["batch", 2])},
            {"factor": np.float32(factor)},
        )

    return write


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """An empty object store."""
    return ObjectStore(f"file://{tmp_path}/objects")


@pytest.fixture
def publish(store: ObjectStore, write_scaler: Callable[[float], Path]) -> Callable[[int, float], Version]:
    """A function that stores a model which multiplies by a factor, and gives its version of this number."""

    def version(number: int, factor: float) -> Version:
        blob = put_blob(store, "models", write_scaler(factor).read_bytes())
        return Version(f"models/scaler/versions/{number}", digest=blob.sha256, files={"model.onnx": blob})

    return version
