"""A policy as an ONNX graph that holds the action step too.

    observation    INT64 [batch, 1] for whole numbers, FP32 [batch, *shape] for real ones
    action_values  FP32 [batch, actions]
    probabilities  FP32 [batch, actions], under the agent's rule of exploration
    action         INT64 [batch], the best

So whoever serves it needs to know nothing of agents: a client may take the best action, or draw from
the probabilities and say with which one it drew.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lepton_common.errors import InvalidModel
from lepton_rl_agent.agent import AgentConfig
from lepton_rl_agent.exploration import Exploration, Softmax
from lepton_rl_agent.spaces import Box
from lepton_rl_agent.worker.policy import Policy, TablePolicy

OPSET = 18
"""The newest operator set that every consumer of our models takes."""

IR_VERSION = 9
"""The newest format that they all read."""

_BATCH = "batch"
_ONNX_TYPES = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}

Signature: TypeAlias = dict[str, list[Any]]


def signature(config: AgentConfig) -> Signature:
    """Return what the graph takes and gives, the batch being -1."""
    seen, actions = config.spaces.observation, config.spaces.actions
    takes = ("FP32", [-1, *seen.shape]) if isinstance(seen, Box) else ("INT64", [-1, 1])
    return {
        "inputs": [_tensor("observation", *takes)],
        "outputs": [
            _tensor("action_values", "FP32", [-1, actions]),
            _tensor("probabilities", "FP32", [-1, actions]),
            _tensor("action", "INT64", [-1]),
        ],
        "classes": [],
    }


def to_onnx(policy: Policy, config: AgentConfig) -> bytes:
    """Return a policy as a checked ONNX model.

    Raises:
        InvalidModel: the policy has run out of all bounds while it was learned.
    """
    if not all(np.isfinite(array).all() for array in policy.arrays):
        raise InvalidModel("learning has run out of all bounds: try a lower learning rate")
    graph = _Graph([], [])
    if isinstance(policy, TablePolicy):
        _look_up(graph, policy)
    else:
        _compute(graph, policy.arrays)
    graph.node("ArgMax", ["action_values"], "action", axis=-1, keepdims=0)
    _choose(graph, config.exploration, config.spaces.actions)
    tensors = signature(config)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "policy",
            [_value_info(tensor) for tensor in tensors["inputs"]],
            [_value_info(tensor) for tensor in tensors["outputs"]],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lepton",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class _Graph:
    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def _look_up(graph: _Graph, policy: TablePolicy) -> None:
    table = graph.constant("table", policy.arrays[0])
    state = graph.node("Squeeze", ["observation", graph.constant("axes", np.array([1]))], "state")
    graph.node("Gather", [table, state], "action_values", axis=0)


def _compute(graph: _Graph, layers: tuple[NDArray[np.float32], ...]) -> None:
    x, last = graph.node("Flatten", ["observation"], "flat", axis=1), len(layers) // 2 - 1
    for n in range(last + 1):
        weights = graph.constant(f"weights_{n}", layers[2 * n])
        bias = graph.constant(f"bias_{n}", layers[2 * n + 1])
        x = graph.node("Gemm", [x, weights, bias], f"layer_{n}" if n < last else "action_values")
        if n < last:
            x = graph.node("Relu", [x], f"hidden_{n}")


def _choose(graph: _Graph, rule: Exploration, actions: int) -> None:
    if isinstance(rule, Softmax):
        # Less the maximum before dividing: a tiny temperature would make the quotient infinite.
        best = graph.node("ReduceMax", ["action_values", graph.constant("last", np.array([-1]))], "best")
        below = graph.node("Sub", ["action_values", best], "below_best")
        # A temperature that is 0 as float32 would make 0 / 0 of the best.
        temperature = np.array(max(rule.temperature, 1e-37), dtype=np.float32)
        exponent = graph.node("Div", [below, graph.constant("temperature", temperature)], "exponent")
        graph.node("Softmax", [exponent], "probabilities", axis=-1)
        return
    depth = graph.constant("actions", np.array(actions))
    others = np.float32(rule.epsilon / actions)
    shares = np.array([others, others + np.float32(1.0 - rule.epsilon)])
    graph.node("OneHot", ["action", depth, graph.constant("shares", shares)], "probabilities", axis=-1)


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def _value_info(tensor: dict[str, Any]) -> onnx.ValueInfoProto:
    shape = [_BATCH if side == -1 else side for side in tensor["shape"]]
    return helper.make_tensor_value_info(tensor["name"], _ONNX_TYPES[tensor["datatype"]], shape)
