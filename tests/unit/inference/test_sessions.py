"""Sessions: what was asked to run them, and what really does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from lepton_inference.catalogue import Execution
from lepton_inference.sessions import (
    CPU_PROVIDER,
    RuntimeOptions,
    open_session,
    provider_shares,
    tensorrt_options,
)

Write = Callable[..., Path]


@pytest.fixture
def branching(write_graph: Write) -> Path:
    """A graph with a node that has subgraphs: five nodes altogether."""

    def branch(name: str, *nodes: tuple[str, str, str]) -> "object":
        made = [helper.make_node(kind, [given, given], [output]) for kind, given, output in nodes]
        dimensions = helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, ["batch", 2])
        return helper.make_graph(made, name, [], [dimensions])

    return write_graph(
        [
            helper.make_node(
                "If",
                ["doubled"],
                ["chosen"],
                then_branch=branch("then", ("Add", "x", "a"), ("Mul", "a", "b")),
                else_branch=branch("else", ("Mul", "x", "c")),
            ),
            helper.make_node("MatMul", ["chosen", "weights"], ["y"]),
        ],
        {"doubled": (TensorProto.BOOL, []), "x": (TensorProto.FLOAT, ["batch", 2])},
        {"y": (TensorProto.FLOAT, ["batch", 2])},
        {"weights": np.eye(2, dtype=np.float32)},
    )


def test_the_cpu_runs_all_nodes_of_a_server_without_a_gpu(branching: Path) -> None:
    session = open_session(branching, RuntimeOptions(threads=1))
    assert session.get_providers() == [CPU_PROVIDER]
    assert provider_shares(session) == {CPU_PROVIDER: 1.0}
    parts = session.get_provider_graph_assignment_info()
    assert sum(len(part.get_nodes()) for part in parts) == 5


@pytest.mark.skipif(
    "AzureExecutionProvider" not in ort.get_available_providers(), reason="a build of the runtime for GPUs"
)
def test_a_provider_that_is_given_no_node_has_no_share(branching: Path) -> None:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # A provider for operators of its own, of which the graph has none.
    session = ort.InferenceSession(branching, options, providers=["AzureExecutionProvider", CPU_PROVIDER])
    assert session.get_providers()[0] == "AzureExecutionProvider"
    assert "AzureExecutionProvider" not in provider_shares(session)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_without_a_gpu_the_cpu_is_taken_and_named(device: str, branching: Path, tmp_path: Path) -> None:
    options = RuntimeOptions(device, engines=tmp_path / "engines")  # type: ignore[arg-type]
    session = open_session(branching, options)
    assert session.get_providers() == [CPU_PROVIDER]
    assert provider_shares(session) == {CPU_PROVIDER: 1.0}


def test_an_endpoint_says_only_what_is_its_own() -> None:
    server = RuntimeOptions("cuda", threads=2, require_gpu=True)
    assert server.of(Execution()) == server
    own = server.of(Execution(instances=3, threads=4, provider="tensorrt"))
    assert own == RuntimeOptions("tensorrt", threads=4, require_gpu=True, instances=3)


def test_tensorrt_keeps_its_engines_in_the_folder(tmp_path: Path) -> None:
    options = tensorrt_options(tmp_path / "run" / "engines")
    assert (tmp_path / "run" / "engines").is_dir()
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == f"{tmp_path}/run/engines"
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert tensorrt_options(None) == {}
