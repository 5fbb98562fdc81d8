"""The network inside an exported model: what lies between the transform in front and the scale behind.

The transform works on raw records and the scale on values in the label's unit. Both hold numbers of any size,
which fewer bits would clip, and no weights worth saving. A forecaster scales by what it finds in the record
itself: then all that comes before the first weights is in front.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable

import onnx
from onnx import TensorProto, helper

TRANSFORM_PREFIX = "transform/"
"""Of the names that `lepton_learn.transform_onnx` gives to its nodes."""

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})
_SCALING_OPERATORS = frozenset({"Add", "Div", "Mul", "Sub"})


def nodes_around(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes in front and of the scale."""
    _, scale = _scale(graph)
    return [*_front(graph, scale), *scale]


def convert_network(
    model: onnx.ModelProto, convert: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> onnx.ModelProto:
    """Put another network into an exported model.

    Args:
        model: the exported model, left as it is.
        convert: gets the network as a model of its own with all shapes inferred, float32 from its inputs to
            its only output, and gives another one in its place with the same inputs and output.
    """
    whole = onnx.shape_inference.infer_shapes(model)
    output, scale = _scale(whole.graph)
    front = _front(whole.graph, scale)
    outside = {node.output[0] for node in (*front, *scale)}
    _part_constants(whole.graph, outside)
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
    given = {output for node in front for output in node.output}
    read = dict.fromkeys(name for node in network.graph.node for name in node.input if name in given)
    for name in read:
        network.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
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


def _front(graph: onnx.GraphProto, scale: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes of the transform; where the scale is the record's own, all that read nothing learnt."""
    learnt = _learnt(graph)
    names = {name for node in graph.node for name in node.output}
    if any(name in names and name not in learnt for node in scale for name in node.input):
        return [node for node in graph.node if learnt.isdisjoint(node.output)]
    return [node for node in graph.node if node.name.startswith(TRANSFORM_PREFIX)]


def _scale(graph: onnx.GraphProto) -> tuple[str, list[onnx.NodeProto]]:
    """The tensor that the network answers with, and the nodes from there to the output."""
    producers = {output: node for node in graph.node for output in node.output}
    reads = Counter(name for node in graph.node for name in node.input)
    learnt = _learnt(graph)
    name, nodes = graph.output[0].name, list[onnx.NodeProto]()
    while (node := producers[name]).op_type in _SCALING_OPERATORS:
        scaled = [each for each in node.input if each in learnt]
        if len(scaled) != 1 or reads[scaled[0]] > 1:
            break
        nodes.insert(0, node)
        (name,) = scaled
    return name, nodes


def _learnt(graph: onnx.GraphProto) -> set[str]:
    """The tensors that depend on weights: on float constants of two dimensions or more."""
    weights = {each.name for each in graph.initializer if len(each.dims) > 1 and each.data_type in _FLOATS}
    found = set[str]()
    for node in graph.node:
        if any(name in weights or name in found for name in node.input):
            found.update(node.output)
    return found


def _part_constants(graph: onnx.GraphProto, outside: Collection[str]) -> None:
    """Give the nodes that make the tensors `outside` constants of their own where others read them too."""
    within = {name for node in graph.node if node.output[0] not in outside for name in node.input}
    shared = {each.name: each for each in graph.initializer if each.name in within}
    copied = set[str]()
    for node in graph.node:
        if node.output[0] in outside:
            for place, name in enumerate(node.input):
                if name in shared:
                    node.input[place] = f"{name}/outside"
                    copied.add(name)
    for name in sorted(copied):
        graph.initializer.add().CopyFrom(shared[name])
        graph.initializer[-1].name = f"{name}/outside"


def _fill(
    graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto], *, constants: Iterable[onnx.TensorProto]
) -> None:
    nodes, constants = list(nodes), list(constants)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
