"""Tensors on the wire and in memory: the Open Inference Protocol's datatypes as numpy arrays.

A tensor comes as a name, a datatype, a shape and its elements, and a client may get
each of them wrong. Everything here checks before it allocates: the sizes that count
are those of the bytes that are there, never those that a header claims.

BYTES elements are text in ONNX, so they become `str` in arrays of dtype object. numpy
has no bfloat16: BF16 elements stay the 16 bits they are, in arrays of dtype uint16.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import TensorMismatch

Array: TypeAlias = NDArray[Any]

MAX_DIMENSIONS = 32
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Datatype:
    """How the elements of a datatype are held.

    `dtype` is numpy's, little-endian; `contents` names the field of the protocol's typed
    contents that carries the elements, or is None where they can only be sent raw.
    """

    name: str
    dtype: np.dtype[Any]
    contents: str | None


DATATYPES = {
    name: Datatype(name, np.dtype(dtype), contents)
    for name, dtype, contents in (
        ("BOOL", "?", "bool_contents"),
        ("INT8", "<i1", "int_contents"),
        ("INT16", "<i2", "int_contents"),
        ("INT32", "<i4", "int_contents"),
        ("INT64", "<i8", "int64_contents"),
        ("UINT8", "<u1", "uint_contents"),
        ("UINT16", "<u2", "uint_contents"),
        ("UINT32", "<u4", "uint_contents"),
        ("UINT64", "<u8", "uint64_contents"),
        ("FP16", "<f2", None),
        ("BF16", "<u2", None),
        ("FP32", "<f4", "fp32_contents"),
        ("FP64", "<f8", "fp64_contents"),
        ("BYTES", "O", "bytes_contents"),
    )
}


def datatype_of(name: str, datatype: str) -> Datatype:
    """The datatype that tensor `name` claims.

    Raises:
        TensorMismatch: there is no such datatype.
    """
    found = DATATYPES.get(datatype)
    if found is None:
        raise TensorMismatch(
            f"tensor {name!r} has the unknown datatype {datatype[:32]!r}; known are {', '.join(DATATYPES)}"
        )
    return found


def decode_raw(name: str, datatype: str, shape: Sequence[int], *, data: bytes) -> Array:
    """The array in `data`: elements in row-major order, little-endian.

    A BYTES element is its length in 4 bytes and then its UTF-8 text. Arrays of other
    datatypes are read-only views of `data`.

    Raises:
        TensorMismatch: the bytes do not fill the shape exactly, or are no values of the datatype.
    """
    kind = datatype_of(name, datatype)
    count = _element_count(name, shape)
    if kind.name == "BYTES":
        return _text_array(name, _split(name, data, count=count), shape)
    expected = count * kind.dtype.itemsize
    if len(data) != expected:
        raise TensorMismatch(
            f"tensor {name!r} has {len(data)} bytes; {kind.name} of shape {list(shape)} has {expected}"
        )
    if kind.name == "BOOL" and np.frombuffer(data, dtype=np.uint8).max() > 1:
        raise TensorMismatch(f"tensor {name!r} is BOOL and has bytes other than 0 and 1")
    return np.frombuffer(data, dtype=kind.dtype).reshape(shape)


def decode_contents(name: str, datatype: str, shape: Sequence[int], *, values: Sequence[Any]) -> Array:
    """The array of typed contents, whose elements are `values` in row-major order.

    Raises:
        TensorMismatch: there are too many or too few of them, or one does not fit the datatype.
    """
    kind = datatype_of(name, datatype)
    if kind.contents is None:
        raise TensorMismatch(f"tensor {name!r} is {kind.name}, which has no typed contents: send it raw")
    count = _element_count(name, shape)
    if len(values) != count:
        raise TensorMismatch(
            f"tensor {name!r} has {len(values)} elements; the shape {list(shape)} has {count}"
        )
    if kind.name == "BYTES":
        return _text_array(name, values, shape)
    if kind.contents in ("int_contents", "uint_contents"):
        wide = np.array(values, dtype=np.int64)
        limits = np.iinfo(kind.dtype)
        if not (limits.min <= wide.min() and wide.max() <= limits.max):
            raise TensorMismatch(f"tensor {name!r} has elements that do not fit {kind.name}")
        return wide.astype(kind.dtype).reshape(shape)
    return np.array(values, dtype=kind.dtype).reshape(shape)


def encode_raw(array: Array, datatype: str) -> bytes:
    """The bytes of `array`, as `decode_raw` takes them."""
    kind = DATATYPES[datatype]
    if kind.name != "BYTES":
        return np.ascontiguousarray(array, dtype=kind.dtype).tobytes()
    parts: list[bytes] = []
    for element in encode_contents(array, datatype):
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def encode_contents(array: Array, datatype: str) -> list[Any]:
    """The elements of `array` in row-major order, as typed contents carry them."""
    if datatype == "BYTES":
        return [str(element).encode() for element in array.ravel()]
    elements: list[Any] = array.ravel().tolist()
    return elements


def _element_count(name: str, shape: Sequence[int]) -> int:
    """The number of elements of a shape, in Python's unbounded integers."""
    if len(shape) > MAX_DIMENSIONS:
        raise TensorMismatch(f"tensor {name!r} has {len(shape)} dimensions; {MAX_DIMENSIONS} are the most")
    if any(size < 1 for size in shape):
        raise TensorMismatch(f"tensor {name!r} has the shape {list(shape)}; every dimension must be positive")
    return math.prod(shape)


def _split(name: str, data: bytes, *, count: int) -> list[bytes]:
    """The elements of a raw BYTES tensor, each behind its length."""
    # Each element takes 4 bytes at least, so no claimed count can make the list longer than the data.
    elements: list[bytes] = []
    place = 0
    while place < len(data) and len(elements) <= count:
        if len(data) - place < _LENGTH.size:
            raise TensorMismatch(f"tensor {name!r} ends within the length of element {len(elements)}")
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if length > len(data) - place:
            raise TensorMismatch(
                f"element {len(elements)} of tensor {name!r} claims {length} bytes; "
                f"{len(data) - place} are left"
            )
        elements.append(data[place : place + length])
        place += length
    if len(elements) != count or place != len(data):
        at_least = "at least " if place != len(data) else ""
        raise TensorMismatch(f"tensor {name!r} has {at_least}{len(elements)} elements; its shape has {count}")
    return elements


def _text_array(name: str, elements: Sequence[bytes], shape: Sequence[int]) -> Array:
    array = np.empty(len(elements), dtype=object)
    for index, element in enumerate(elements):
        try:
            array[index] = element.decode()
        except UnicodeDecodeError as error:
            raise TensorMismatch(f"element {index} of tensor {name!r} is not UTF-8 text") from error
    return array.reshape(shape)
