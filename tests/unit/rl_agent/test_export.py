"""A policy as an ONNX graph."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from lepton_common.errors import InvalidModel
from lepton_rl_agent.agent import AgentConfig, Algorithm, Dqn, QLearning, settle
from lepton_rl_agent.exploration import EpsilonGreedy, Exploration, Softmax, probabilities
from lepton_rl_agent.spaces import Box, Discrete, Spaces
from lepton_rl_agent.worker.export import signature, to_onnx
from lepton_rl_agent.worker.network import initial
from lepton_rl_agent.worker.policy import NetworkPolicy, Policy, TablePolicy

WARM = Softmax(1.0)
RNG = np.random.default_rng(0)
STATES, IMAGES = Spaces(Discrete(16), 4), Spaces(Box((2, 3)), 3)
TABLE = TablePolicy((RNG.normal(size=(16, 4)).astype(np.float32),))
NETWORK = NetworkPolicy(initial(RNG, [6, 32, 16, 3]))


def config(spaces: Spaces, rule: Exploration = WARM) -> AgentConfig:
    """An agent with these spaces."""
    algorithm: Algorithm = QLearning() if isinstance(spaces.observation, Discrete) else Dqn()
    return settle("agents/a", algorithm, spaces=spaces, exploration=rule)


def answers(model: bytes, observations: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What ONNX Runtime makes of a batch."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"observation": observations}), strict=True))


CASES = pytest.mark.parametrize(
    ("policy", "spaces", "observations", "played"),
    [
        pytest.param(TABLE, STATES, np.arange(16)[:, np.newaxis], np.arange(16), id="table"),
        pytest.param(
            NETWORK,
            IMAGES,
            (batch := RNG.normal(size=(20, 2, 3)).astype(np.float32)),
            batch,
            id="network",
        ),
    ],
)


@CASES
@pytest.mark.parametrize(
    "rule",
    [Softmax(1.0), Softmax(0.05), Softmax(1e-300), Softmax(1e6), EpsilonGreedy(0.0), EpsilonGreedy(0.3)],
    ids=str,
)
def test_the_graph_gives_what_the_policy_and_the_rule_of_exploration_give(
    policy: Policy, spaces: Spaces, observations: NDArray[Any], played: NDArray[Any], rule: Exploration
) -> None:
    found = answers(to_onnx(policy, config(spaces, rule)), observations)
    values = policy.values(played)
    assert found["action_values"] == pytest.approx(values, abs=1e-5)
    assert found["probabilities"] == pytest.approx(probabilities(values, rule), abs=1e-5)
    assert found["action"].tolist() == values.argmax(axis=1).tolist()


@CASES
def test_the_signature_is_the_graphs(
    policy: Policy, spaces: Spaces, observations: NDArray[Any], played: NDArray[Any]
) -> None:
    told = signature(config(spaces))
    found = answers(to_onnx(policy, config(spaces)), observations)
    datatypes = {"FP32": np.float32, "INT64": np.int64}
    for tensor in told["outputs"]:
        array = found[tensor["name"]]
        assert array.dtype == datatypes[tensor["datatype"]]
        assert [-1, *array.shape[1:]] == tensor["shape"]
    (takes,) = told["inputs"]
    assert takes["name"] == "observation"
    assert observations.dtype == datatypes[takes["datatype"]]
    assert [-1, *observations.shape[1:]] == takes["shape"]


def test_any_number_of_observations_is_taken_at_once() -> None:
    graph = onnx.load_from_string(to_onnx(TABLE, config(STATES))).graph
    shapes = {
        tensor.name: [side.dim_param or side.dim_value for side in tensor.type.tensor_type.shape.dim]
        for tensor in (*graph.input, *graph.output)
    }
    assert shapes == {
        "observation": ["batch", 1],
        "action_values": ["batch", 4],
        "probabilities": ["batch", 4],
        "action": ["batch"],
    }


def test_equal_actions_share_the_probability_and_the_first_is_the_best() -> None:
    found = answers(
        to_onnx(TablePolicy((np.zeros((16, 4), dtype=np.float32),)), config(STATES)), np.array([[3]])
    )
    assert found["probabilities"].tolist() == [[0.25] * 4]
    assert found["action"].tolist() == [0]


def test_what_has_run_out_of_all_bounds_is_no_policy() -> None:
    with pytest.raises(InvalidModel, match="learning rate"):
        to_onnx(TablePolicy((np.full((16, 4), np.nan, dtype=np.float32),)), config(STATES))
