"""Elements on the wire and in arrays."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_common.errors import TensorMismatch
from lepton_inference.tensors import DATATYPES, decode_contents, decode_raw, encode_contents, encode_raw

EXAMPLES = {
    "BOOL": np.array([[True, False]]),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-32768, 32767]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "FP16": np.array([[-1.5, 65504]], np.float16),
    "BF16": np.array([[0x3F80, 0xBF80]], np.uint16),
    "FP32": np.array([[1.1, np.inf]], np.float32),
    "FP64": np.array([[1.1, -1e300]], np.float64),
    "BYTES": np.array([["", "naïve\0"]], object),
}


def test_every_datatype_has_an_example() -> None:
    assert EXAMPLES.keys() == DATATYPES.keys()


@pytest.mark.parametrize("datatype", EXAMPLES)
def test_raw_elements_come_back_as_they_were(datatype: str) -> None:
    array = EXAMPLES[datatype]
    decoded = decode_raw("x", datatype, array.shape, data=encode_raw(array, datatype))
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("datatype", [name for name, kind in DATATYPES.items() if kind.contents])
def test_typed_elements_come_back_as_they_were(datatype: str) -> None:
    array = EXAMPLES[datatype]
    decoded = decode_contents("x", datatype, array.shape, values=encode_contents(array, datatype))
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_has_no_typed_contents(datatype: str) -> None:
    with pytest.raises(TensorMismatch, match="send it raw"):
        decode_contents("x", datatype, [1], values=[1])


def test_raw_elements_are_little_endian_in_row_major_order() -> None:
    assert encode_raw(np.array([[1, 2], [3, 4]], np.uint16).T, "UINT16") == b"\1\0\3\0\2\0\4\0"


@given(st.lists(st.text(), min_size=1))
def test_any_texts_come_back_as_they_were(texts: list[str]) -> None:
    array = np.array([*texts, None], dtype=object)[:-1]
    assert decode_raw("x", "BYTES", [len(texts)], data=encode_raw(array, "BYTES")).tolist() == texts


@given(st.binary(max_size=64), st.lists(st.integers(-2, 5), max_size=4), st.sampled_from([*DATATYPES]))
def test_any_bytes_are_decoded_or_refused(data: bytes, shape: list[int], datatype: str) -> None:
    try:
        array = decode_raw("x", datatype, shape, data=data)
    except TensorMismatch:
        return
    assert array.shape == tuple(shape)
    assert encode_raw(array, datatype) == data


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "says"),
    [
        pytest.param("FP31", [1], b"", "unknown datatype 'FP31'", id="unknown datatype"),
        pytest.param("FP32", [2], b"\0" * 7, "7 bytes; FP32 of shape [2] has 8", id="too short"),
        pytest.param("FP32", [2], b"\0" * 9, "9 bytes", id="too long"),
        pytest.param("FP32", [2**40, 2**40], b"", "has", id="a shape beyond all memory"),
        pytest.param("FP32", [-1], b"", "must be positive", id="negative dimension"),
        pytest.param("FP32", [0], b"", "must be positive", id="no records"),
        pytest.param("FP32", [1] * 33, b"\0" * 4, "33 dimensions", id="too many dimensions"),
        pytest.param("BOOL", [1], b"\2", "other than 0 and 1", id="a truth value that is none"),
        pytest.param(
            "BYTES", [1], struct.pack("<I", 10 << 20), "claims 10485760", id="a length beyond the end"
        ),
        pytest.param("BYTES", [1], b"\1\0", "within the length", id="half a length"),
        pytest.param("BYTES", [1], b"\1\0\0\0\xff", "not UTF-8", id="no text"),
        pytest.param("BYTES", [2], b"\0\0\0\0", "has 1 elements; its shape has 2", id="too few texts"),
        pytest.param("BYTES", [1], b"\0\0\0\0" * 5, "at least 2 elements", id="too many texts"),
        pytest.param("BYTES", [2**60], b"", "has 0 elements", id="texts beyond all memory"),
    ],
)
def test_raw_elements_that_do_not_fit_are_refused(
    datatype: str, shape: list[int], data: bytes, says: str
) -> None:
    with pytest.raises(TensorMismatch) as caught:
        decode_raw("x", datatype, shape, data=data)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "values", "says"),
    [
        pytest.param("FP32", [1.0], "has 1 elements", id="too few"),
        pytest.param("INT8", [1, 128], "do not fit INT8", id="above the range"),
        pytest.param("UINT8", [1, 256], "do not fit UINT8", id="above the unsigned range"),
        pytest.param("INT16", [-32769, 0], "do not fit INT16", id="below the range"),
    ],
)
def test_typed_elements_that_do_not_fit_are_refused(datatype: str, values: list[float], says: str) -> None:
    with pytest.raises(TensorMismatch, match=says):
        decode_contents("x", datatype, [2], values=values)
