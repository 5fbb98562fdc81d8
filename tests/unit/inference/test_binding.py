"""Bound runs give what plain runs give."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from lepton_inference.binding import can_bind, must_bind, run_bound
from lepton_inference.pinned import PinnedMemory
from lepton_inference.signature import Signature, TensorSpec

Write = Callable[..., Path]
SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 8)), TensorSpec("n", "INT64", (-1, 1))),
    outputs=(TensorSpec("y", "FP32", (-1, 4)), TensorSpec("kept", "FP32", (-1, -1))),
)


def no_memory(size: int) -> int:
    raise MemoryError


@pytest.fixture
def session(write_graph: Write) -> ort.InferenceSession:
    """Takes two inputs, gives an output of a known shape and one whose shape depends on the values."""
    rng = np.random.default_rng(7)
    path = write_graph(
        [
            helper.make_node("MatMul", ["x", "weights"], ["product"]),
            helper.make_node("Cast", ["n"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["product", "number"], ["y"]),
            helper.make_node("NonZero", ["x"], ["places"]),
            helper.make_node("Cast", ["places"], ["kept"], to=TensorProto.FLOAT),
        ],
        {"x": (TensorProto.FLOAT, ["batch", 8]), "n": (TensorProto.INT64, ["batch", 1])},
        {"y": (TensorProto.FLOAT, ["batch", 4]), "kept": (TensorProto.FLOAT, ["rank", "count"])},
        {"weights": rng.normal(size=(8, 4)).astype(np.float32)},
    )
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("records", [1, 5])
@pytest.mark.parametrize(
    "memory", [None, PinnedMemory(no_memory, lambda address: None)], ids=["runtime's", "ours"]
)
def test_a_bound_run_gives_what_a_plain_one_gives(
    session: ort.InferenceSession, records: int, memory: PinnedMemory | None
) -> None:
    rng = np.random.default_rng(records)
    x = rng.normal(size=(records, 8)).astype(np.float32)
    inputs = {"x": np.asfortranarray(x), "n": np.full((records, 1), 3)}
    bound = run_bound(session, SIGNATURE, inputs, records=records, memory=memory)
    plain = dict(zip(("y", "kept"), session.run(None, inputs), strict=True))
    assert bound.keys() == plain.keys()
    for name, array in plain.items():
        np.testing.assert_array_equal(bound[name], array)


def test_bfloat16_comes_in_memory_of_ours_too(write_graph: Write) -> None:
    dimensions = (TensorProto.BFLOAT16, ["batch", 2])
    path = write_graph([helper.make_node("Identity", ["x"], ["y"])], {"x": dimensions}, {"y": dimensions})
    signature = Signature((TensorSpec("x", "BF16", (-1, 2)),), (TensorSpec("y", "BF16", (-1, 2)),))
    x = np.array([[1, 2], [3, 65535]], np.uint16)
    memory = PinnedMemory(no_memory, lambda address: None)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = run_bound(session, signature, {"x": x}, records=2, memory=memory)
    np.testing.assert_array_equal(outputs["y"], x)


def test_what_was_answered_stays_as_it_is(session: ort.InferenceSession) -> None:
    x, n = np.ones((2, 8), np.float32), np.zeros((2, 1), np.int64)
    memory = PinnedMemory(no_memory, lambda address: None)
    first = run_bound(session, SIGNATURE, {"x": x, "n": n}, records=2, memory=memory)["y"]
    copy = first.copy()
    run_bound(session, SIGNATURE, {"x": -x, "n": n}, records=2, memory=memory)
    np.testing.assert_array_equal(first, copy)


def test_strings_cannot_be_bound_and_bfloat16_must() -> None:
    def signature(datatype: str) -> Signature:
        return Signature(inputs=(TensorSpec("x", datatype, (-1, 1)),))

    assert (can_bind(signature("BYTES")), must_bind(signature("BYTES"))) == (False, False)
    assert (can_bind(signature("BF16")), must_bind(signature("BF16"))) == (True, True)
    assert (can_bind(signature("FP32")), must_bind(signature("FP32"))) == (True, False)
