"""Inputs of a model as they are typed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lepton_common.errors import InvalidField
from lepton_sdk.cli.tensors import read_tensor


@pytest.mark.parametrize(
    ("typed", "datatype", "shape", "expected"),
    [
        pytest.param("5.1", "FP32", [-1, 1], [[5.1]], id="a number for a column"),
        pytest.param("[5.1, 3]", "FP32", [-1, 1], [[5.1], [3]], id="numbers for a column"),
        pytest.param("[[5.1], [3]]", "FP32", [-1, 1], [[5.1], [3]], id="a column as it is"),
        pytest.param("[1, 2, 3]", "FP32", [-1, 3], [[1, 2, 3]], id="one record"),
        pytest.param("[[1, 2, 3], [4, 5, 6]]", "FP32", [-1, 3], [[1, 2, 3], [4, 5, 6]], id="records"),
        pytest.param("[[1, 2], [3, 4]]", "FP32", [-1, 2, 2], [[[1, 2], [3, 4]]], id="one matrix"),
        pytest.param("[1, 2]", "FP32", [-1, 2, 1], [[[1], [2]]], id="one series of values"),
        pytest.param("[[1], [2]]", "FP32", [-1, 2, 1], [[[1], [2]]], id="one series as it is"),
        pytest.param("[]", "FP32", [-1, 1], np.zeros((0, 1)), id="no record"),
        pytest.param("7", "INT64", [-1, 1], [[7]], id="a whole number"),
        pytest.param("7.0", "INT64", [-1, 1], [[7]], id="a whole number with a point"),
        pytest.param("255", "UINT8", [-1, 1], [[255]], id="the largest byte"),
        pytest.param("true", "BOOL", [-1, 1], [[True]], id="a truth"),
        pytest.param("1e300", "FP32", [-1, 1], [[np.inf]], id="beyond a float"),
        pytest.param("red", "BYTES", [-1, 1], [["red"]], id="a text"),
        pytest.param("1.50", "BYTES", [-1, 1], [["1.50"]], id="a text of digits"),
        pytest.param("true", "BYTES", [-1, 1], [["true"]], id="a text that JSON knows"),
        pytest.param("shirt.png", "BYTES", [-1, 1], [["shirt.png"]], id="a text that looks like a file"),
        pytest.param('"red"', "BYTES", [-1, 1], [["red"]], id="a text in quotes"),
        pytest.param('["red", "blue"]', "BYTES", [-1, 1], [["red"], ["blue"]], id="texts"),
    ],
)
def test_a_value_becomes_a_batch(typed: str, datatype: str, shape: list[int], expected: Any) -> None:
    array = read_tensor(typed, datatype, shape)
    assert array.tolist() == np.array(expected, dtype=array.dtype).tolist()
    assert array.shape == np.shape(expected)


@pytest.mark.parametrize(
    ("typed", "datatype", "shape", "told"),
    [
        pytest.param("", "FP32", [-1, 1], "neither a file nor JSON", id="nothing"),
        pytest.param("red", "FP32", [-1, 1], "neither a file nor JSON", id="a word"),
        pytest.param("[1, [2]]", "FP32", [-1, 2], "neither a file nor JSON of one shape", id="ragged"),
        pytest.param('"red"', "FP32", [-1, 1], "not made of numbers", id="a text for a number"),
        pytest.param("null", "FP32", [-1, 1], "not made of numbers", id="null"),
        pytest.param('{"a": 1}', "FP32", [-1, 1], "not made of numbers", id="a mapping"),
        pytest.param("300", "UINT8", [-1, 1], "UINT8 does not have", id="too large"),
        pytest.param("-1", "UINT8", [-1, 1], "UINT8 does not have", id="negative"),
        pytest.param("1.5", "INT64", [-1, 1], "INT64 does not have", id="a fraction"),
        pytest.param("NaN", "INT64", [-1, 1], "INT64 does not have", id="not a number"),
        pytest.param("2", "BOOL", [-1, 1], "BOOL does not have", id="neither true nor false"),
        pytest.param("1" * 30, "INT64", [-1, 1], "not made of numbers", id="beyond 64 bits"),
        pytest.param("[" * 100_000, "FP32", [-1, 1], "neither a file nor JSON", id="nested without end"),
        pytest.param("1", "BF16", [-1, 1], "BF16, which cannot be typed", id="no such dtype"),
        pytest.param("none.npy", "FP32", [-1, 1], "No such file", id="no array"),
        pytest.param("none.png", "UINT8", [-1, 8, 8, 1], "No such file", id="no image"),
        pytest.param("none.png", "UINT8", [-1, 64], r"records of shape \[64\]", id="an image for a vector"),
    ],
)
def test_what_the_model_cannot_take_is_refused(
    typed: str, datatype: str, shape: list[int], told: str
) -> None:
    with pytest.raises(InvalidField, match=told):
        read_tensor(typed, datatype, shape)


def test_an_array_file_is_read(tmp_path: Path) -> None:
    records = np.arange(6, dtype=np.float64).reshape(2, 3)
    np.save(tmp_path / "two.npy", records)
    np.save(tmp_path / "one.npy", records[0])
    np.testing.assert_array_equal(read_tensor(str(tmp_path / "two.npy"), "FP32", [-1, 3]), records)
    np.testing.assert_array_equal(read_tensor(str(tmp_path / "one.npy"), "FP32", [-1, 3]), records[:1])


def test_an_array_file_that_carries_code_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidField, match="cannot be read as"):
        read_tensor(str(tmp_path / "objects.npy"), "FP32", [-1, 3])


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text"], ids=["empty", "cut off", "text"])
def test_a_broken_array_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.npy").write_bytes(content)
    with pytest.raises(InvalidField, match="cannot be read as"):
        read_tensor(str(tmp_path / "broken.npy"), "FP32", [-1, 3])


@pytest.mark.parametrize("suffix", ["png", "bmp", "PNG"])
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("1", 1)])
def test_an_image_becomes_pixels(tmp_path: Path, mode: str, channels: int, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.new(mode, (5, 4), color=1).save(path)
    array = read_tensor(str(path), "UINT8", [-1, 4, 5, channels])
    assert array.shape == (1, 4, 5, channels)
    assert array.dtype == np.uint8


def test_grey_levels_are_kept(tmp_path: Path) -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    array = read_tensor(str(tmp_path / "grey.png"), "UINT8", [-1, 4, 4, 1])
    np.testing.assert_array_equal(array[0, ..., 0], pixels)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"text"], ids=["empty", "cut off", "text"])
def test_a_broken_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(InvalidField, match="cannot be read as an image"):
        read_tensor(str(tmp_path / "broken.png"), "UINT8", [-1, 4, 4, 1])
