"""Models on a GPU: `pytest -m gpu tests/gpu`.

The environment is that of development with `onnxruntime-gpu` and its libraries in place of `onnxruntime`.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_inference import cuda
from lepton_inference.model import Model, load_model
from lepton_inference.sessions import (
    CUDA_PROVIDER,
    GPU_PROVIDERS,
    TENSORRT_PROVIDER,
    RuntimeOptions,
    provider_shares,
)
from lepton_inference.signature import Signature
from lepton_inference.tensors import Array

pytestmark = pytest.mark.gpu

Write = Callable[[list[onnx.NodeProto], dict[str, Array]], Path]
WIDTH = 256


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a model of FP32 `x` [batch, WIDTH] into `y` [batch, ...]."""

    def write(nodes: list[onnx.NodeProto], weights: dict[str, Array]) -> Path:
        width = int(weights["w"].shape[1])
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", weights["w"].shape[0]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
        return path

    return write


@pytest.fixture
def mlp(write: Write) -> Path:
    rng = np.random.default_rng(1)
    weights = {
        "w1": rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH,
        "w": rng.normal(size=(WIDTH, 10)).astype(np.float32) / WIDTH,
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    return write(nodes, weights)


def on(device: RuntimeOptions, path: Path) -> Model:
    return load_model(path, options=device, registered=Signature())


def test_cuda_runs_all_of_a_plain_model_and_gives_what_the_cpu_gives(mlp: Path) -> None:
    model = on(RuntimeOptions("cuda", require_gpu=True), mlp)
    assert (model.provider, model.provider_share) == (CUDA_PROVIDER, 1.0)
    reference = on(RuntimeOptions("cpu"), mlp)
    rng = np.random.default_rng(2)
    for records in (1, 7, 64, 7):
        x = rng.normal(size=(records, WIDTH)).astype(np.float32)
        np.testing.assert_allclose(model.run({"x": x})["y"], reference.run({"x": x})["y"], atol=1e-3)


def test_every_instance_has_a_session_and_answers_stay_apart(mlp: Path) -> None:
    model = on(RuntimeOptions("cuda", require_gpu=True, instances=3), mlp)
    assert len(model.sessions) == 3
    model.warm_up(8)
    batches = [np.full((8, WIDTH), value, np.float32) for value in range(60)]
    expected = [model.run({"x": batch})["y"].copy() for batch in batches]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda batch: model.run({"x": batch})["y"], batches))
    for answer, right in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(answer, right)


def test_a_model_takes_memory_of_the_gpu_and_gives_it_back(write: Write) -> None:
    ort.preload_dlls()
    weights = {"w": np.ones((8192, 8192), np.float32)}
    path = write([helper.make_node("MatMul", ["x", "w"], ["y"])], weights)
    before = cuda.memory_in_use()
    assert before > 0
    model = on(RuntimeOptions("cuda", require_gpu=True), path)
    taken = cuda.memory_in_use() - before
    assert taken >= weights["w"].nbytes
    model.sessions.clear()
    assert model.pinned is not None
    model.pinned.close()
    assert cuda.memory_in_use() - before <= taken - weights["w"].nbytes // 2


def test_page_locked_memory_is_there() -> None:
    ort.preload_dlls()
    address = cuda.allocate_host(1 << 20)
    assert address
    cuda.free_host(address)


def test_a_refusal_of_page_locked_memory_is_no_error_of_the_next_run(mlp: Path) -> None:
    model = on(RuntimeOptions("cuda", require_gpu=True), mlp)
    with pytest.raises(MemoryError, match="CUDA error 2"):
        cuda.allocate_host(1 << 50)
    assert model.run({"x": np.ones((1, WIDTH), np.float32)})["y"].shape == (1, 10)


def test_batches_lie_in_page_locked_memory_and_change_from_run_to_run(mlp: Path) -> None:
    model = on(RuntimeOptions("cuda", require_gpu=True), mlp)
    reference = on(RuntimeOptions("cpu"), mlp)
    rng = np.random.default_rng(3)
    room = model.empty((64, WIDTH), np.dtype(np.float32))
    prepared = model.prepare({"x": room})
    assert prepared is not None
    for records in (1, 64, 7, 64, 1):
        room[:] = rng.normal(size=room.shape)
        expected = reference.run({"x": room[:records]})["y"]
        np.testing.assert_allclose(prepared(records)["y"], expected, atol=1e-3)


@pytest.mark.parametrize("instances", [1, 2])
def test_a_convolutional_network_runs_batches_of_every_size(write: Write, instances: int) -> None:
    rng = np.random.default_rng(4)
    weights = {
        "shape": np.array([0, 1, 16, 16]),
        "flat": np.array([0, -1]),
        "k": rng.normal(size=(4, 1, 3, 3)).astype(np.float32) / 3,
        "w": rng.normal(size=(WIDTH, 10)).astype(np.float32) / WIDTH,
    }
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["image"]),
        helper.make_node("Conv", ["image", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMax", ["c", "axis"], ["m"], keepdims=0),
        helper.make_node("Reshape", ["m", "flat"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    path = write(nodes, weights | {"axis": np.array([1])})
    model = on(RuntimeOptions("cuda", require_gpu=True, instances=instances), path)
    model.divide(8)
    model.warm_up(8)
    assert len(model.sessions) == 4 * instances
    reference = on(RuntimeOptions("cpu"), path)
    room = model.empty((8, WIDTH), np.dtype(np.float32))
    prepared = model.prepare({"x": room})
    assert prepared is not None
    for records in (3, 5, 1, 8, 7, 2, 4, 3):
        room[:] = rng.normal(size=room.shape)
        expected = reference.run({"x": room[:records]})["y"]
        np.testing.assert_allclose(prepared(records)["y"], expected, atol=1e-2)
        np.testing.assert_allclose(model.run({"x": room[:records].copy()})["y"], expected, atol=1e-2)


@pytest.mark.skipif(
    TENSORRT_PROVIDER not in ort.get_available_providers(), reason="a runtime without TensorRT"
)
def test_tensorrt_keeps_its_engines(mlp: Path, tmp_path: Path) -> None:
    model = on(RuntimeOptions("tensorrt", require_gpu=True, engines=tmp_path / "engines"), mlp)
    assert model.provider in GPU_PROVIDERS
    if model.provider != TENSORRT_PROVIDER:
        pytest.skip("the libraries of TensorRT are not installed")
    model.warm_up(16)
    assert provider_shares(model.sessions[0])[TENSORRT_PROVIDER] == model.provider_share > 0
    assert any((tmp_path / "engines").iterdir())


def test_a_poisoned_context_loses_the_gpu(write: Write) -> None:
    path = write(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.array([[2, 0], [0, 2]], np.float32)}
    )
    program = Path(__file__).with_name("poison.py")
    ran = subprocess.run([sys.executable, program, path], capture_output=True, text=True, timeout=100)
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["before"] == [[2, 2]]
    # Runs, and what would be loaded: nothing goes on to the CPU.
    assert told["after"] == ["GpuLost"] * 3
    assert "illegal memory access" in told["lost"][0]
