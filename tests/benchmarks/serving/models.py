"""The models that are served. Their weights are random: what a run of them costs is what counts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inference import grpc_service_pb2 as pb

OPSET, IR_VERSION = 18, 9


@dataclass(frozen=True)
class Model:
    """A model from `x`, float32 of (batch, *shape), to `y`, float32 of (batch, classes)."""

    name: str
    shape: tuple[int, ...]
    classes: int
    most_batched: int
    """Records of its largest batch, on every server that makes batches."""
    build: Callable[["Model"], bytes]
    """Gives its ONNX file."""

    @property
    def record_bytes(self) -> int:
        """Bytes of the input of one record."""
        return int(np.prod(self.shape)) * 4


def records(model: Model, count: int) -> np.ndarray:
    """Standard normal records, float32 of (count, *shape), the same at every call."""
    return np.random.default_rng(0).standard_normal((count, *model.shape), dtype=np.float32)


def request(model: Model, batch: np.ndarray) -> pb.ModelInferRequest:
    """A request for a batch of records."""
    return pb.ModelInferRequest(
        model_name=model.name,
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=batch.shape)],
        raw_input_contents=[batch.tobytes()],
    )


class Graph:
    """An ONNX graph that grows by one node at a time. Its weights keep the variance of what they see."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; gives the name of its output."""
        output = f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, array: np.ndarray) -> str:
        """Adds an initializer; gives its name."""
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def weights(self, shape: tuple[int, ...], fan_in: int) -> str:
        """Adds random weights (He et al. 2015, equation 10)."""
        drawn = self._rng.standard_normal(shape, dtype=np.float32)
        return self.constant(drawn * np.float32(np.sqrt(2 / fan_in)))

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        """Adds a layer where every output sees every input."""
        bias = self.constant(np.zeros(outputs, np.float32))
        return self.add("Gemm", x, self.weights((inputs, outputs), inputs), bias)

    def convolution(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> str:
        """Adds a convolution that keeps the size of an image at stride 1."""
        weights = self.weights((outputs, inputs, kernel, kernel), inputs * kernel**2)
        bias = self.constant(np.zeros(outputs, np.float32))
        return self.add("Conv", x, weights, bias, pads=[kernel // 2] * 4, strides=[stride] * 2)

    def file(self, model: Model, output: str) -> bytes:
        """The ONNX file of a model whose answer is this output."""
        self._nodes.append(helper.make_node("Identity", [output], ["y"]))
        graph = helper.make_graph(
            self._nodes,
            model.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *model.shape])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", model.classes])],
            self._constants,
        )
        opset = helper.make_opsetid("", OPSET)
        proto = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        onnx.checker.check_model(proto)
        return proto.SerializeToString()


def mlp(model: Model) -> bytes:
    """784 numbers, a hidden layer of 128, 10 classes."""
    graph = Graph()
    hidden = graph.add("Relu", graph.dense("x", 784, 128))
    return graph.file(model, graph.dense(hidden, 128, 10))


def cnn(model: Model) -> bytes:
    """Images of 28x28, convolutions of 32 and 64 filters, a hidden layer of 128, 10 classes."""
    graph = Graph()
    first = graph.add("Relu", graph.convolution("x", 1, 32, 3))
    second = graph.add("Relu", graph.convolution(first, 32, 64, 3))
    pooled = graph.add("MaxPool", second, kernel_shape=[2, 2], strides=[2, 2])
    hidden = graph.add("Relu", graph.dense(graph.add("Flatten", pooled), 64 * 14 * 14, 128))
    return graph.file(model, graph.dense(hidden, 128, 10))


def resnet(model: Model) -> bytes:
    """ResNet-50 (He et al. 2016, table 1), its batch normalisation folded away: 25.5 million weights."""
    graph = Graph()
    x = graph.add("Relu", graph.convolution("x", 3, 64, 7, stride=2))
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            x = _bottleneck(graph, x, channels, width, stride if block == 0 else 1)
            channels = 4 * width
    mean = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    return graph.file(model, graph.dense(mean, channels, model.classes))


def _bottleneck(graph: Graph, x: str, channels: int, width: int, stride: int) -> str:
    y = graph.add("Relu", graph.convolution(x, channels, width, 1))
    y = graph.add("Relu", graph.convolution(y, width, width, 3, stride=stride))
    y = graph.convolution(y, width, 4 * width, 1)
    if channels != 4 * width or stride != 1:
        x = graph.convolution(x, channels, 4 * width, 1, stride=stride)
    return graph.add("Relu", graph.add("Add", x, y))


def large(model: Model) -> bytes:
    """Images of 3x224x224, of which little is computed: the mean of each channel's corner."""
    graph = Graph()
    window = [graph.constant(np.array(limits, np.int64)) for limits in ([0, 0], [8, 8], [2, 3])]
    corner = graph.add("Slice", "x", *window)
    return graph.file(model, graph.add("Flatten", graph.add("GlobalAveragePool", corner)))


MLP = Model("mlp", (784,), 10, 64, mlp)
CNN = Model("cnn", (1, 28, 28), 10, 64, cnn)
RESNET = Model("resnet", (3, 224, 224), 1000, 8, resnet)
LARGE = Model("large", (3, 224, 224), 3, 16, large)
MODELS = {model.name: model for model in (MLP, CNN, RESNET, LARGE)}
