"""Bound runs give what plain runs give."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from lepton_inference.binding import CopiedRows, can_bind, must_bind, room_for_outputs, run_bound
from lepton_inference.signature import Signature, TensorSpec
from lepton_inference.tensors import Array

Write = Callable[..., Path]
SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 8)), TensorSpec("n", "INT64", (-1, 1))),
    outputs=(TensorSpec("y", "FP32", (-1, 4)), TensorSpec("kept", "FP32", (-1, -1))),
)


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
def test_a_bound_run_gives_what_a_plain_one_gives(session: ort.InferenceSession, records: int) -> None:
    rng = np.random.default_rng(records)
    x = rng.normal(size=(records, 8)).astype(np.float32)
    inputs = {"x": np.asfortranarray(x), "n": np.full((records, 1), 3)}
    bound = run_bound(session, SIGNATURE, inputs)
    plain = dict(zip(("y", "kept"), session.run(None, inputs), strict=True))
    assert bound.keys() == plain.keys()
    for name, array in plain.items():
        np.testing.assert_array_equal(bound[name], array)


def test_bfloat16_comes_in_memory_of_ours(write_graph: Write) -> None:
    dimensions = (TensorProto.BFLOAT16, ["batch", 2])
    path = write_graph([helper.make_node("Identity", ["x"], ["y"])], {"x": dimensions}, {"y": dimensions})
    signature = Signature((TensorSpec("x", "BF16", (-1, 2)),), (TensorSpec("y", "BF16", (-1, 2)),))
    x = np.array([[1, 2], [3, 65535]], np.uint16)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    first = run_bound(session, signature, {"x": x})["y"]
    run_bound(session, signature, {"x": x[::-1]})
    np.testing.assert_array_equal(first, x)


def test_rows_that_are_copied_run_in_batches_of_a_size(session: ort.InferenceSession) -> None:
    signature = Signature(SIGNATURE.inputs, SIGNATURE.outputs[:1])
    x, n = np.ones((8, 8), np.float32), np.zeros((8, 1), np.int64)
    room = room_for_outputs(signature, records=8, most_bytes=1 << 20)
    assert room is not None
    rows = CopiedRows(signature, {"x": x, "n": n}, room)
    rng = np.random.default_rng(3)
    given: dict[int, Mapping[str, Array]] = {}
    for records, size in ((1, 1), (3, 4), (4, 4), (8, 8), (3, 4), (3, 8)):
        x[:] = rng.normal(size=(8, 8))
        n[:] = records
        outputs = rows.run(session, records, size=size)
        expected = session.run(["y"], {"x": x[:records], "n": n[:records]})[0]
        np.testing.assert_allclose(outputs["y"], expected, rtol=1e-5)
        assert outputs["y"].base is room["y"]
        assert given.setdefault(records, outputs) is outputs


@pytest.mark.parametrize(
    ("shape", "fits"), [((-1, 4), True), ((8, 4), True), ((2, 4), False), ((-1, -1), False), ((-1, 5), False)]
)
def test_there_is_room_for_outputs_of_known_size(shape: tuple[int, ...], *, fits: bool) -> None:
    signature = Signature(outputs=(TensorSpec("y", "FP32", shape),))
    room = room_for_outputs(signature, records=8, most_bytes=8 * 4 * 4)
    assert (room is not None) == fits
    assert room is None or room["y"].shape == (8, 4)


def test_strings_cannot_be_bound_and_bfloat16_must() -> None:
    def signature(datatype: str) -> Signature:
        return Signature(inputs=(TensorSpec("x", datatype, (-1, 1)),))

    assert (can_bind(signature("BYTES")), must_bind(signature("BYTES"))) == (False, False)
    assert (can_bind(signature("BF16")), must_bind(signature("BF16"))) == (True, True)
    assert (can_bind(signature("FP32")), must_bind(signature("FP32"))) == (True, False)
