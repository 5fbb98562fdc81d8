"""The network inside an exported model: what lies between the transform in front and the scale behind.

The transform works on raw records, whose range fewer bits would clip, and so does the scale that turns a
network's answer into the label's unit. Neither holds weights worth saving.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Self

import onnx

from lepton_learn.transform_onnx import INPUTS

TRANSFORM_PREFIX = "transform/"
"""Of the names that `lepton_learn.transform_onnx` gives to its nodes."""

_SCALING_OPERATORS = frozenset({"Add", "Div", "Mul", "Sub"})


def transform_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes of the transform in front."""
    return [node for node in graph.node if node.name.startswith(TRANSFORM_PREFIX)]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, cut out of an exported model."""

    whole: onnx.ModelProto
    """The exported model."""
    front: list[onnx.NodeProto]
    """The nodes of the transform."""
    nodes: list[onnx.NodeProto]
    """The nodes of the network."""
    scale: list[onnx.NodeProto]
    """The nodes behind the network."""
    output: str
    """The name of the network's answer, before it is scaled."""

    @classmethod
    def of(cls, whole: onnx.ModelProto) -> Self:
        """Find the network in an exported model."""
        front = transform_nodes(whole.graph)
        scale = _scale(whole.graph)
        outside = {node.output[0] for node in (*front, *scale)}
        nodes = [node for node in whole.graph.node if node.output[0] not in outside]
        return cls(whole=whole, front=front, nodes=nodes, scale=scale, output=nodes[-1].output[0])

    @property
    def _constants_outside(self) -> set[str]:
        return {name for node in (*self.front, *self.scale) for name in node.input}

    def model(self) -> onnx.ModelProto:
        """The network alone, float32 from `INPUTS` to its answer."""
        model = onnx.ModelProto()
        model.CopyFrom(self.whole)
        graph, outside = model.graph, self._constants_outside
        constants = [each for each in graph.initializer if each.name not in outside]
        values = {value.name: value for value in (*graph.value_info, *graph.output)}
        for field, content in (
            ("node", self.nodes), 
        ):
            ...
        return model
