"""Tensors on their way to a model and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from inference import grpc_service_pb2 as pb
from lepton_common.errors import InvalidField, Unimplemented
from lepton_sdk.inference import DATATYPES, decode, encode

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
TEXTS = hnp.arrays(object, SHAPES, elements=st.text(max_size=20), fill=st.nothing())
NUMBERS = st.sampled_from([*DATATYPES.values()]).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))


def echoed(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What comes back from a model that gives what it takes."""
    request = encode("echo", inputs)
    response = pb.ModelInferResponse(raw_output_contents=request.raw_input_contents)
    for tensor in request.inputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return {**decode(pb.ModelInferResponse.FromString(response.SerializeToString())).outputs}


@given(array=NUMBERS)
def test_numbers_come_back_as_they_were(array: NDArray[Any]) -> None:
    returned = echoed({"x": array})["x"]
    assert returned.dtype == array.dtype
    np.testing.assert_array_equal(returned, array)


@given(array=TEXTS)
def test_texts_come_back_as_they_were(array: NDArray[Any]) -> None:
    returned = echoed({"x": array})["x"]
    assert returned.shape == array.shape
    assert returned.tolist() == array.tolist()


@given(array=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3)))
def test_how_an_array_lies_in_memory_makes_no_difference(array: NDArray[np.float32]) -> None:
    for same in (np.asfortranarray(array), array[::-1][::-1], array.astype(">f4"), array.copy()):
        assert encode("m", {"x": same}) == encode("m", {"x": array})


@pytest.mark.parametrize(
    ("array", "raw"),
    [
        pytest.param(np.array(["é", ""], object), b"\x02\0\0\0\xc3\xa9\0\0\0\0", id="objects"),
        pytest.param(np.array(["ab", "c"]), b"\x02\0\0\0ab\x01\0\0\0c", id="unicode"),
        pytest.param(np.array([b"ab", b"c"]), b"\x02\0\0\0ab\x01\0\0\0c", id="bytes"),
        pytest.param(np.array([b"\xff", "a"], object), b"\x01\0\0\0\xff\x01\0\0\0a", id="bytes as objects"),
    ],
)
def test_texts_travel_with_their_lengths(array: NDArray[Any], raw: bytes) -> None:
    request = encode("m", {"x": array})
    assert request.inputs[0].datatype == "BYTES"
    assert request.raw_input_contents[0] == raw


def test_what_is_no_utf_8_comes_back_unharmed() -> None:
    returned = echoed({"x": np.array([b"\xff\xfe"])})["x"]
    assert echoed({"x": returned})["x"].tolist() == returned.tolist()
    assert encode("m", {"x": returned}).raw_input_contents[0].endswith(b"\xff\xfe")


def test_the_request_names_model_version_and_shapes() -> None:
    request = encode("iris", {"a": np.zeros((2, 1)), "b": np.zeros((2, 3), np.int64)}, version="4")
    assert (request.model_name, request.model_version) == ("iris", "4")
    assert [(each.name, each.datatype, [*each.shape]) for each in request.inputs] == [
        ("a", "FP64", [2, 1]),
        ("b", "INT64", [2, 3]),
    ]


def test_the_request_names_the_outputs_it_wants() -> None:
    request = encode("iris", {}, outputs={"probabilities": 3, "features": 0})
    assert [each.name for each in request.outputs] == ["probabilities", "features"]
    assert request.outputs[0].parameters["classification"].int64_param == 3
    assert not request.outputs[1].parameters
    assert not encode("iris", {}).outputs, "none named: all"


@pytest.mark.parametrize("array", [np.zeros(1, complex), np.zeros(1, "M8[s]")], ids=["complex", "time"])
def test_what_the_protocol_cannot_carry_is_refused(array: NDArray[Any]) -> None:
    with pytest.raises(InvalidField, match="'x' is of dtype"):
        encode("m", {"x": array})


def test_a_datatype_without_dtype_is_refused() -> None:
    response = pb.ModelInferResponse(raw_output_contents=[b"\0\0"])
    response.outputs.add(name="y", datatype="BF16", shape=[1])
    with pytest.raises(Unimplemented, match="BF16"):
        decode(response)


def test_what_the_server_says_of_the_answer_is_kept_as_text() -> None:
    response = pb.ModelInferResponse(model_version="3")
    response.parameters["classes"].string_param = '["a"]'
    response.parameters["batch"].int64_param = 8
    response.parameters["cached"].bool_param = True
    prediction = decode(response)
    assert prediction.model_version == "3"
    assert prediction.parameters == {"classes": '["a"]', "batch": "8", "cached": "True"}
