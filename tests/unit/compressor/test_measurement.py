"""What a model is found to be worth, and which models cannot be measured."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_common.errors import InvalidModel
from lepton_compressor.worker.held_out import HeldOut
from lepton_compressor.worker.measurement import load, measure

CPU = "CPUExecutionProvider"
HELD_OUT = HeldOut(
    batch={},
    records={"x": np.arange(300, dtype=np.float32)[:, np.newaxis]},
    labels=np.arange(300) * 2.0,
    classifies=False,
)


def times(factor: float) -> bytes:
    """A model that multiplies."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["prediction"])],
        "times",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model.SerializeToString()


def test_models_are_measured_side_by_side() -> None:
    contents = {"fp32": times(2), "int8": times(2.5)}
    models = {name: load(name, content, HELD_OUT, provider=CPU) for name, content in contents.items()}
    right, wrong = measure(models, HELD_OUT, models["fp32"].answers)
    assert (right.name, right.precision, wrong.name) == ("fp32", "PRECISION_FP32", "int8")
    assert right.size_bytes == len(contents["fp32"])
    assert (right.score, right.max_difference) == (0.0, 0.0)
    assert wrong.score < -0.1
    assert wrong.max_difference == 299 * 0.5
    assert right.metric == "negative_relative_error"
    assert min(right.latency_ms, right.batch_latency_ms) > 0
    assert right.provider == CPU


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(b"nothing", "ONNX Runtime cannot run the int8 model: ", id="no model"),
        pytest.param(times(float("inf")), "infinite or no numbers", id="infinite"),
        pytest.param(times(float("nan")), "infinite or no numbers", id="no numbers"),
    ],
)
def test_a_model_that_does_not_answer_in_numbers_is_refused(model: bytes, words: str) -> None:
    with pytest.raises(InvalidModel, match=words):
        load("int8", model, HELD_OUT, provider=CPU)
