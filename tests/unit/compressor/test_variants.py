"""Smaller forms of a model answer nearly as it does, however large the numbers around its network are."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from lepton_compressor.worker.variants import to_fp16, to_int8
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.transform import FittedTransform
from lepton_learn.transform_onnx import INPUTS, transform_graph

RANDOM = np.random.default_rng(0)
COUNT = 200
RECORDS: Batch = {
    # Each would be infinite in float16, or lose what tells the records apart.
    "income": RANDOM.normal(100_000, 20_000, COUNT).astype(np.float32),
    "year": RANDOM.normal(2000, 1, COUNT).astype(np.float32),
    "since": 1_700_000_000_000 + RANDOM.integers(-(10**9), 10**9, COUNT),
    "city": np.array(["Oslo", "Kraków"], object)[RANDOM.integers(0, 2, COUNT)],
    "price": RANDOM.normal(300_000, 100_000, COUNT).astype(np.float32),
}
FEATURES = (
    Column(name="income", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE),
    Column(name="year", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE),
    Column(name="since", type=ColumnType.INTEGER, transform=Transform.STANDARDIZE),
    Column(name="city", type=ColumnType.CATEGORY, transform=Transform.ONE_HOT),
)
FEED = {column.name: RECORDS[column.name].reshape(-1, 1) for column in FEATURES}


def branch(taken: str, given: str) -> onnx.NodeProto:
    """Gives what it takes, which only the graphs within it name, as in the loops of recurrent layers."""
    inside = f"{given}_inside"
    body = helper.make_graph(
        [helper.make_node("Identity", [taken], [inside])],
        given,
        [],
        [helper.make_tensor_value_info(inside, TensorProto.FLOAT, None)],
    )
    return helper.make_node("If", ["always"], [given], name=given, then_branch=body, else_branch=body)


def exported(*, branches: bool) -> bytes:
    """A transform, a network of random weights, and a scale to 300,000 with a deviation of 100,000."""
    price = Column(name="price", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE)
    front = transform_graph(FittedTransform.fit(Schema((*FEATURES, price), "price"), [RECORDS]))
    hidden = 64
    constants = {
        "first": RANDOM.normal(0, 0.4, (5, hidden)).astype(np.float32),
        "second": RANDOM.normal(0, 0.1, (hidden, 1)).astype(np.float32),
        "deviation": np.float32(100_000),
        "mean": np.float32(300_000),
        **({"always": np.bool_(True)} if branches else {}),
    }
    nodes = [
        helper.make_node("MatMul", [INPUTS, "first"], ["sums"], name="sums"),
        branch("sums", "same") if branches else helper.make_node("Identity", ["sums"], ["same"], name="same"),
        helper.make_node("Relu", ["same"], ["hidden"], name="hidden"),
        helper.make_node("MatMul", ["hidden", "second"], ["answer"], name="answer"),
        helper.make_node("Mul", ["answer", "deviation"], ["spread"], name="spread"),
        helper.make_node("Add", ["spread", "mean"], ["prediction"], name="prediction"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(INPUTS, TensorProto.FLOAT, ["batch", 5])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    core = helper.make_model(graph, opset_imports=front.opset_import[:1], ir_version=front.ir_version)
    whole = compose.merge_models(front, core, io_map=[(INPUTS, INPUTS)])
    # Merging names a set of operators once for each part.
    del whole.opset_import[:]
    whole.opset_import.extend(front.opset_import)
    return whole.SerializeToString()


def ask(model: bytes) -> NDArray[np.float32]:
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answers: NDArray[np.float32] = session.run(["prediction"], FEED)[0]
    return answers


@pytest.fixture(scope="module", params=[False, True], ids=["plain network", "network with branches"])
def plain(request: pytest.FixtureRequest) -> bytes:
    """An exported model."""
    return exported(branches=request.param)


@pytest.mark.parametrize(
    ("convert", "tolerance"),
    [
        # Of a deviation of 100,000.
        pytest.param(to_fp16, 500, id="fp16"),
        pytest.param(lambda model: to_int8(model, FEED), 10_000, id="int8"),
    ],
)
def test_a_smaller_form_answers_nearly_alike(
    convert: Callable[[bytes], bytes], tolerance: float, plain: bytes
) -> None:
    expected = ask(plain)
    assert expected.std() > 10_000
    np.testing.assert_allclose(ask(convert(plain)), expected, rtol=0, atol=tolerance)


def test_sixteen_bits_hold_the_weights_and_nothing_around_the_network(plain: bytes) -> None:
    types = {
        constant.name: constant.data_type
        for constant in onnx.load_from_string(to_fp16(plain)).graph.initializer
    }
    assert {types["first"], types["second"]} == {TensorProto.FLOAT16}
    assert TensorProto.FLOAT16 not in {
        kind for name, kind in types.items() if name.startswith("transform/") or name in ("deviation", "mean")
    }


def test_eight_bits_hold_the_weights_and_nothing_around_the_network() -> None:
    graph = onnx.load_from_string(to_int8(exported(branches=False), FEED)).graph
    eighths = [constant for constant in graph.initializer if constant.data_type == TensorProto.INT8]
    assert {tuple(each.dims) for each in eighths} >= {(5, 64), (64, 1)}
    quantized = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    # The transform's last tensor is the network's first; nothing before it, and nothing of the scale.
    assert {name for name in quantized if name.startswith("transform/")} <= {INPUTS}
    assert quantized.isdisjoint({"spread", "prediction"})


def test_eight_bit_weights_leave_a_bit_for_the_sum_of_two_products() -> None:
    graph = onnx.load_from_string(to_int8(exported(branches=False), FEED)).graph
    for constant in graph.initializer:
        if constant.data_type == TensorProto.INT8:
            assert np.abs(numpy_helper.to_array(constant).astype(int)).max(initial=0) <= 64


def test_a_scale_found_in_the_record_is_not_part_of_the_network() -> None:
    """As a forecaster's: (record - mean) / 4 goes in, and mean + 4 x comes out, sharing the constant 4."""
    constants = {
        "axes": np.array([1]),
        "four": np.float32(4),
        "first": RANDOM.normal(0, 0.4, (8, 32)).astype(np.float32),
        "second": RANDOM.normal(0, 0.2, (32, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["record", "axes"], ["mean"], name="mean"),
        helper.make_node("Sub", ["record", "mean"], ["centred"], name="centred"),
        helper.make_node("Div", ["centred", "four"], ["scaled"], name="scaled"),
        helper.make_node("MatMul", ["scaled", "first"], ["sums"], name="sums"),
        helper.make_node("Relu", ["sums"], ["hidden"], name="hidden"),
        helper.make_node("MatMul", ["hidden", "second"], ["answer"], name="answer"),
        helper.make_node("Sub", ["answer", "four"], ["shifted"], name="shifted"),
        helper.make_node("Relu", ["shifted"], ["positive"], name="positive"),
        helper.make_node("Mul", ["positive", "four"], ["spread"], name="spread"),
        helper.make_node("Add", ["spread", "mean"], ["prediction"], name="prediction"),
    ]
    graph = helper.make_graph(
        nodes,
        "forecaster",
        [helper.make_tensor_value_info("record", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data = plain.SerializeToString()
    levels = RANDOM.uniform(0, 100_000, (200, 1))
    feed = {"record": (levels + RANDOM.normal(0, 20, (200, 8))).astype(np.float32)}

    def forecast(model: bytes) -> NDArray[np.float32]:
        onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        answers: NDArray[np.float32] = session.run(None, feed)[0]
        return answers

    expected = forecast(data)
    # Eight bits, or sixteen, over the levels would be off by hundreds.
    np.testing.assert_allclose(forecast(to_int8(data, feed)), expected, rtol=0, atol=3)
    np.testing.assert_allclose(forecast(to_fp16(data)), expected, rtol=0, atol=0.5)
    kinds = {each.name: each.data_type for each in onnx.load_from_string(to_fp16(data)).graph.initializer}
    assert kinds["first"] == TensorProto.FLOAT16
    assert TensorProto.FLOAT in kinds.values()
