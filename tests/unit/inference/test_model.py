"""Models in the runtime: what they take, what runs them, what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lepton_common.errors import InvalidModel, WrongState
from lepton_inference.model import load_model
from lepton_inference.sessions import CPU_PROVIDER, RuntimeOptions
from lepton_inference.signature import Signature, TensorSpec
from lepton_inference.tensors import DATATYPES

Write = Callable[..., Path]
CPU = RuntimeOptions(threads=1)

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def test_a_model_says_what_it_takes_and_gives_and_what_runs_it(write_scaler: Write) -> None:
    model = load_model(write_scaler(), options=CPU, registered=Signature(classes=("a", "b")))
    assert model.signature == Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 2)),),
        outputs=(TensorSpec("y", "FP32", (-1, 2)),),
        classes=("a", "b"),
    )
    assert model.provider == CPU_PROVIDER
    assert model.batched
    model.warm_up(8)
    outputs = model.run({"x": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(outputs["y"], [[2, 4]])


def test_a_batch_larger_than_memory_is_not_tried_out(write_graph: Write) -> None:
    dimensions = (TensorProto.FLOAT, ["batch", 1 << 20])
    path = write_graph([helper.make_node("Identity", ["x"], ["y"])], {"x": dimensions}, {"y": dimensions})
    load_model(path, options=CPU, registered=Signature()).warm_up(1 << 30)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_goes_through_the_runtime(datatype: str, write_graph: Write) -> None:
    dimensions = (ONNX_TYPES[datatype], ["batch", 2])
    path = write_graph([helper.make_node("Identity", ["x"], ["y"])], {"x": dimensions}, {"y": dimensions})
    model = load_model(path, options=CPU, registered=Signature())
    dtype = DATATYPES[datatype].dtype
    array = np.array([["a", "é"]], object) if dtype.hasobject else np.array([[0, 1]]).astype(dtype)
    output = model.run({"x": array})["y"]
    assert model.signature.inputs[0].datatype == datatype
    assert output.dtype == dtype
    np.testing.assert_array_equal(output, array)


def test_a_model_that_does_not_keep_records_apart_is_not_batched(write_graph: Write) -> None:
    path = write_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)],
        {"x": (TensorProto.FLOAT, ["batch", 2])},
        {"y": (TensorProto.FLOAT, ["one", "sum"])},
    )
    assert not load_model(path, options=CPU, registered=Signature()).batched


def test_a_model_with_further_dynamic_dimensions_is_tried_with_ones(write_graph: Write) -> None:
    path = write_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ["batch", "length"])},
        {"y": (TensorProto.FLOAT, ["batch", "length"])},
    )
    model = load_model(path, options=CPU, registered=Signature())
    assert model.batched
    assert model.run({"x": np.zeros((2, 5), np.float32)})["y"].shape == (2, 5)


@pytest.fixture
def broken_reshape(write_graph: Write) -> Callable[[list[int | str]], Path]:
    """A function that writes a model which needs 6 elements, for an input of these dimensions."""

    def write(dimensions: list[int | str]) -> Path:
        return write_graph(
            [helper.make_node("Reshape", ["x", "shape"], ["y"])],
            {"x": (TensorProto.FLOAT, dimensions)},
            {"y": (TensorProto.FLOAT, ["a", "b"])},
            {"shape": np.array([2, 3])},
        )

    return write


def test_a_model_that_cannot_run_is_refused(broken_reshape: Callable[[list[int | str]], Path]) -> None:
    with pytest.raises(InvalidModel):
        load_model(broken_reshape([1, 5]), options=CPU, registered=Signature())


def test_a_model_that_needs_another_size_is_loaded_and_refuses_inputs_in_words(
    broken_reshape: Callable[[list[int | str]], Path],
) -> None:
    model = load_model(broken_reshape(["rows", "columns"]), options=CPU, registered=Signature())
    assert not model.batched
    assert model.run({"x": np.zeros((1, 6), np.float32)})["y"].shape == (2, 3)
    with pytest.raises(InvalidModel, match="cannot compute these inputs"):
        model.run({"x": np.zeros((1, 5), np.float32)})


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x09"], ids=["empty", "text", "no graph"])
def test_a_file_that_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"cannot load model\.onnx"):
        load_model(path, options=CPU, registered=Signature())


def test_a_truncated_model_is_refused(write_scaler: Write) -> None:
    path = write_scaler()
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidModel):
        load_model(path, options=CPU, registered=Signature())


def test_a_model_that_is_not_as_registered_is_refused(write_scaler: Write) -> None:
    registered = Signature(inputs=(TensorSpec("x", "FP32", (-1, 3)),))
    with pytest.raises(InvalidModel, match=r"registered with x FP32 \[-1, 3\]"):
        load_model(write_scaler(), options=CPU, registered=registered)


def test_what_is_no_tensor_cannot_be_served(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    length = helper.make_tensor_value_info("n", TensorProto.INT64, [])
    graph = helper.make_graph([helper.make_node("SequenceLength", ["s"], ["n"])], "g", [sequence], [length])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    with pytest.raises(InvalidModel, match="only tensors"):
        load_model(path, options=CPU, registered=Signature())


def test_a_gpu_that_is_not_there_is_told_and_refused_where_it_is_required(write_scaler: Write) -> None:
    path = write_scaler()
    assert load_model(path, options=RuntimeOptions("cuda"), registered=Signature()).provider == CPU_PROVIDER
    with pytest.raises(WrongState, match="would run on CPUExecutionProvider"):
        load_model(path, options=RuntimeOptions("cuda", require_gpu=True), registered=Signature())


@pytest.mark.parametrize("datatype", sorted(DATATYPES.keys() - {"BYTES"}))
def test_a_prepared_model_gives_what_a_plain_run_gives(datatype: str, write_graph: Write) -> None:
    dimensions = (ONNX_TYPES[datatype], ["batch", 2])
    path = write_graph([helper.make_node("Identity", ["x"], ["y"])], {"x": dimensions}, {"y": dimensions})
    model = load_model(path, options=CPU, registered=Signature())
    room = np.zeros((4, 2), DATATYPES[datatype].dtype)
    prepared = model.prepare({"x": room})
    assert prepared is not None
    for records in (1, 3, 4, 3):
        room[:] = np.arange(8).reshape(4, 2) + records
        outputs = prepared(records)
        plain = model.run({"x": room[:records]})
        np.testing.assert_array_equal(outputs["y"], plain["y"], strict=True)
        assert prepared(records) is outputs, "what was found out about these arrays holds for the next run"


@pytest.mark.parametrize(
    ("dtype", "shape", "operator", "is_prepared"),
    [
        ("FP32", ["batch", 2], "Relu", True),
        ("FP32", ["batch", "any"], "Relu", False),
        ("FP32", ["batch", 1 << 20], "Relu", False),
        ("FP32", [3, 2], "Relu", False),
        ("BYTES", ["batch", 2], "Identity", False),
    ],
    ids=["small", "unknown", "large", "no batch", "strings"],
)
def test_only_outputs_that_are_small_and_of_a_known_shape_are_prepared(
    dtype: str, shape: list[object], operator: str, is_prepared: bool, write_graph: Write
) -> None:
    dimensions = (ONNX_TYPES[dtype], shape)
    path = write_graph([helper.make_node(operator, ["x"], ["y"])], {"x": dimensions}, {"y": dimensions})
    model = load_model(path, options=CPU, registered=Signature())
    columns = shape[1] if isinstance(shape[1], int) else 2
    room = np.zeros((3, columns), DATATYPES[dtype].dtype)
    assert (model.prepare({"x": room}) is not None) == is_prepared


def test_a_prepared_model_may_give_other_shapes_than_it_says(write_graph: Write) -> None:
    """It has as many columns as the largest number in the batch."""
    path = write_graph(
        [
            helper.make_node("Shape", ["x"], ["whole"]),
            helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["wide"], to=TensorProto.INT64),
            helper.make_node("Unsqueeze", ["wide", "first"], ["columns"]),
            helper.make_node("Gather", ["whole", "first"], ["records"]),
            helper.make_node("Concat", ["records", "columns"], ["shape"], axis=0),
            helper.make_node("ConstantOfShape", ["shape"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["batch", 2])},
        {"y": (TensorProto.FLOAT, ["batch", 3])},
        {"first": np.array([0])},
    )
    model = load_model(path, options=CPU, registered=Signature())
    room = np.full((2, 2), 3, np.float32)
    prepared = model.prepare({"x": room})
    assert prepared is not None
    assert prepared(2)["y"].shape == (2, 3)
    room[0, 0] = 5
    assert prepared(2)["y"].shape == (2, 5)
    room[0, 0] = 3
    assert prepared(2)["y"].shape == (2, 3)
