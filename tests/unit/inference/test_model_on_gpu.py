"""What a model does otherwise on a GPU: here the CPU runs it, in sessions that say that CUDA does."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from lepton_common.errors import InvalidModel
from lepton_inference.model import Model
from lepton_inference.sessions import CUDA_PROVIDER, RuntimeOptions

Write = Callable[..., Path]


class CudaSession:
    """A session that says that CUDA runs all of it, and tells how many records its batches had."""

    def __init__(self, path: Path) -> None:
        self._session = ort.InferenceSession(path, options(), providers=["CPUExecutionProvider"])
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [CUDA_PROVIDER, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        parts = self._session.get_provider_graph_assignment_info()
        return [SimpleNamespace(ep_name=CUDA_PROVIDER, get_nodes=part.get_nodes) for part in parts]

    def run(self, names: Sequence[str], inputs: dict[str, Any]) -> Any:
        self.sizes.append(len(next(iter(inputs.values()))))
        return self._session.run(names, inputs)

    def run_with_iobinding(self, binding: ort.IOBinding) -> None:
        self._session.run_with_iobinding(binding)
        self.sizes.append(binding.get_outputs()[0].shape()[0])


def options() -> ort.SessionOptions:
    made = ort.SessionOptions()
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return made


def on_cuda(path: Path, *, instances: int = 1) -> Model:
    def open_session() -> Any:
        return CudaSession(path)

    return Model(open_session(), open_session, (), options=RuntimeOptions("cuda", instances=instances))


@pytest.fixture
def convolution(write_graph: Write) -> Path:
    """From FP32 `x` [batch, 1, 4] to `y` [batch, 2, 3]."""
    weights = np.random.default_rng(0).normal(size=(2, 1, 2)).astype(np.float32)
    return write_graph(
        [helper.make_node("Conv", ["x", "weights"], ["y"])],
        {"x": (TensorProto.FLOAT, ["batch", 1, 4])},
        {"y": (TensorProto.FLOAT, ["batch", 2, 3])},
        {"weights": weights},
    )


def images(records: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(records, 1, 4)).astype(np.float32)


@pytest.mark.parametrize("instances", [1, 2])
def test_a_convolution_sees_batches_of_one_size_in_every_session(convolution: Path, instances: int) -> None:
    model = on_cuda(convolution, instances=instances)
    model.try_out()
    model.divide(8)
    model.warm_up(8)
    assert len(model.sessions) == 4 * instances
    for session in model.sessions:
        session.sizes.clear()
    room = model.empty((8, 1, 4), np.dtype(np.float32))
    prepared = model.prepare({"x": room})
    assert prepared is not None
    reference = ort.InferenceSession(convolution, providers=["CPUExecutionProvider"])
    for records in (1, 3, 5, 8, 2, 7, 3):
        room[:] = images(8, seed=records)
        (expected,) = reference.run(None, {"x": room[:records]})
        np.testing.assert_allclose(model.run({"x": room[:records]})["y"], expected, rtol=1e-5)
        outputs = prepared(records)
        np.testing.assert_allclose(outputs["y"], expected, rtol=1e-5)
        assert prepared(records) is outputs
    sizes = [{*session.sizes} for session in model.sessions]
    assert all(len(seen) <= 1 for seen in sizes)
    assert set.union(*sizes) == {1, 2, 4, 8}


def test_other_graphs_have_one_session_and_batches_of_all_sizes(write_scaler: Callable[[], Path]) -> None:
    model = on_cuda(write_scaler())
    model.divide(8)
    model.warm_up(8)
    (session,) = model.sessions
    for records in (3, 8):
        x = np.ones((records, 2), np.float32)
        np.testing.assert_array_equal(model.run({"x": x})["y"], 2 * x)
    assert session.sizes == [8, 3, 8]


def test_endpoints_that_do_not_warm_up_have_their_sizes_too(convolution: Path) -> None:
    model = on_cuda(convolution)
    model.divide(8)
    assert len(model.sessions) == 4
    assert not any(session.sizes for session in model.sessions)


def test_what_spoilt_a_batch_does_not_fill_up_the_next(write_graph: Write) -> None:
    """A number that stands for no row of the table is an error of its whole batch."""
    path = write_graph(
        [
            helper.make_node("Gather", ["table", "n"], ["row"]),
            helper.make_node("Conv", ["row", "weights"], ["y"]),
        ],
        {"n": (TensorProto.INT64, ["batch", 1])},
        {"y": (TensorProto.FLOAT, ["batch", 1, 2])},
        {"table": np.arange(6, dtype=np.float32).reshape(3, 2), "weights": np.ones((1, 1, 1), np.float32)},
    )
    model = on_cuda(path)
    model.divide(4)
    room = model.empty((4, 1), np.dtype(np.int64))
    prepared = model.prepare({"n": room})
    assert prepared is not None
    room[:] = [[0], [1], [2], [9]]
    with pytest.raises(InvalidModel):
        prepared(4)
    room[:3] = [[2], [1], [0]]
    outputs = prepared(3)
    np.testing.assert_array_equal(outputs["y"][:, 0], [[4, 5], [2, 3], [0, 1]])
    assert prepared(3) is outputs, "it still runs where it was bound"
