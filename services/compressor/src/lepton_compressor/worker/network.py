"""The network inside an exported model: what lies between the transform in front and the scale behind.

The transform works on raw records and the scale on values in the label's unit. Both hold numbers of any size,
which fewer bits would clip, and no weights worth saving.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import onnx
from onnx import TensorProto, helper

from lepton_learn.transform_onnx import INPUTS

TRANSFORM_PREFIX = "transform/"
"""Of the names that `lepton_learn.transform_onnx` gives to its nodes."""

_SCALING_OPERATORS = frozenset({"Add", "Div", "Mul", "Sub"})


def nodes_around(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes of the transform and of the scale."""
    _, scale = _scale(graph)
    return [*_transform(graph), *scale]


def convert_network(
    model: onnx.ModelProto, convert: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> onnx.ModelProto:
    """Put another network into an exported model.

    Args:
        model: the exported model, left as it is.
        convert: gets the network as a model of its own with all shapes inferred, float32 from `INPUTS` to its
            only output, and gives another one in its place with the same input and output.
    """
    whole = onnx.shape_inference.infer_shapes(model)
    front = _transform(whole.graph)
    output, scale = _scale(whole.graph)
    outside = {node.output[0] for node in (*front, *scale)}
    read_outside = {name for node in (*front, *scale) for name in node.input}
    constants_outside = [each for each in whole.graph.initializer if each.name in read_outside]

    network = onnx.ModelProto()
    network.CopyFrom(whole)
    _fill(
        network.graph,
        [node for node in whole.graph.node if node.output[0] not in outside],
        constants=[each for each in whole.graph.initializer if each.name not in read_outside],
    )
    del network.graph.input[:], network.graph.output[:]
    network.graph.input.append(helper.make_tensor_value_info(INPUTS, TensorProto.FLOAT, None))
    network.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))

    converted = convert(network).graph
    _fill(
        whole.graph,
        [*front, *converted.node, *scale],
        constants=[*constants_outside, *converted.initializer],
    )
    # What is said of shapes and types is of the network as it was.
    del whole.graph.value_info[:]
    return whole


def _transform(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.name.startswith(TRANSFORM_PREFIX)]


def _scale(graph: onnx.GraphProto) -> tuple[str, list[onnx.NodeProto]]:
    """The tensor that the network answers with, and the nodes from there to the output."""
    producers = {output: node for node in graph.node for output in node.output}
    reads = Counter(name for node in graph.node for name in node.input)
    constants = {each.name for each in graph.initializer}
    name, nodes = graph.output[0].name, list[onnx.NodeProto]()
    while (node := producers[name]).op_type in _SCALING_OPERATORS:
        scaled = [each for each in node.input if each not in constants]
        if len(scaled) != 1 or any(reads[each] > 1 for each in node.input):
            break
        nodes.insert(0, node)
        (name,) = scaled
    return name, nodes


def _fill(
    graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto], *, constants: Iterable[onnx.TensorProto]
) -> None:
    nodes, constants = list(nodes), list(constants)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
