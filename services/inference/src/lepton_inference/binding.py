"""Runs whose inputs and outputs are bound: for GPUs, and for elements that numpy knows no type for.

The runtime copies what is bound straight between its place and the device. From page-locked memory it does
so while the CPU goes on, out of other memory only by way of a buffer of its own.
"""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

from lepton_inference.pinned import PinnedMemory
from lepton_inference.signature import Signature, TensorSpec
from lepton_inference.tensors import DATATYPES, Array

_BFLOAT16 = 16  # The number of the type in ONNX.


def can_bind(signature: Signature) -> bool:
    """Whether all tensors can be bound; strings cannot."""
    return "BYTES" not in _datatypes(signature)


def must_bind(signature: Signature) -> bool:
    """Whether tensors have elements that only binding carries: bfloat16, for numpy just 16 bits."""
    return "BF16" in _datatypes(signature)


def run_bound(
    session: ort.InferenceSession,
    signature: Signature,
    inputs: Mapping[str, Array],
    *,
    records: int | None = None,
    memory: PinnedMemory | None = None,
) -> dict[str, Array]:
    """All outputs by name, as `session.run` gives them.

    With `memory`, inputs are copied into it, and outputs whose shape is known beforehand come in it;
    `records` is the size of their first dimension where that is dynamic. The rest comes in memory of the
    runtime.
    """
    binding = session.io_binding()
    values = [_input_value(inputs[spec.name], spec, memory) for spec in signature.inputs]
    for spec, value in zip(signature.inputs, values, strict=True):
        binding.bind_ortvalue_input(spec.name, value)
    made: dict[str, Array] = {}
    for spec in signature.outputs:
        shape = _known_shape(spec, records) if memory is not None else None
        if memory is None or shape is None:
            binding.bind_output(spec.name, "cpu")
        else:
            array = made[spec.name] = memory.empty(shape, DATATYPES[spec.datatype].dtype)
            binding.bind_ortvalue_output(spec.name, _value(array, spec))
    session.run_with_iobinding(binding)
    return {
        spec.name: made[spec.name] if spec.name in made else _array(value, spec)
        for spec, value in zip(signature.outputs, binding.get_outputs(), strict=True)
    }


def _datatypes(signature: Signature) -> set[str]:
    return {spec.datatype for spec in signature.inputs + signature.outputs}


def _input_value(array: Array, spec: TensorSpec, memory: PinnedMemory | None) -> ort.OrtValue:
    return _value(memory.copy(array) if memory is not None else np.ascontiguousarray(array), spec)


def _value(array: Array, spec: TensorSpec) -> ort.OrtValue:
    """The runtime's view of an array; it keeps the array."""
    if spec.datatype == "BF16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _known_shape(spec: TensorSpec, records: int | None) -> tuple[int, ...] | None:
    shape = spec.shape
    if records is not None and shape[:1] == (-1,):
        shape = (records, *shape[1:])
    return None if -1 in shape else shape


def _array(value: Any, spec: TensorSpec) -> Array:
    if spec.datatype != "BF16":
        array: Array = value.numpy()
        return array
    # The 16 bits of each element, copied out of the runtime's memory.
    pointer = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    return np.ctypeslib.as_array(pointer, shape=tuple(value.shape())).copy()
