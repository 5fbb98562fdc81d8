"""Runs whose inputs and outputs are bound: for GPUs, for elements that numpy knows no type for, and for
batches that lie in the same place again and again.

The runtime copies what is bound straight between its place and the device. From page-locked memory it does
so while the CPU goes on, out of other memory only by way of a buffer of its own.
"""

import ctypes
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import onnxruntime as ort

from lepton_inference.pinned import PinnedMemory
from lepton_inference.signature import Signature, TensorSpec
from lepton_inference.tensors import DATATYPES, Array

_BFLOAT16 = 16  # The number of the type in ONNX.
# Outputs of larger batches are left to the runtime: to bind them gains little, and holds their memory.
_MOST_OUTPUT_BYTES = 1 << 20
# So many numbers of rows are bound at a time.
_MOST_BOUND = 256


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


class BoundRows:
    """Runs on the first rows of arrays that stay where they are.

    Args:
        session: what runs.
        signature: of a model whose records can be put together, and which has elements that can be bound.
        inputs: by name, with a row for each record.
        outputs: room for as many rows, as `outputs` gives it.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
    ) -> None:
        self._session = session
        self._signature = signature
        self._inputs = inputs
        self._outputs = outputs
        self._bound: dict[int, tuple[ort.IOBinding, Mapping[str, Array]]] = {}

    @staticmethod
    def outputs(signature: Signature, *, records: int) -> dict[str, Array] | None:
        """Room for the outputs for so many records; None if it is not known how much, or it is too much."""
        room: dict[str, Array] = {}
        size_bytes = 0
        for spec in signature.outputs:
            shape = _known_shape(spec, records)
            dtype = DATATYPES[spec.datatype].dtype
            if shape is None or shape[:1] != (records,):
                return None
            size_bytes += prod(shape) * dtype.itemsize
            if size_bytes > _MOST_OUTPUT_BYTES:
                return None
            room[spec.name] = np.empty(shape, dtype)
        return room

    def run(self, records: int) -> Mapping[str, Array]:
        """All outputs by name, in the same arrays for as many records.

        Raises:
            Exception: one of `RUNTIME_ERRORS`.
        """
        found = self._bound.get(records)
        if found is None:
            if len(self._bound) >= _MOST_BOUND:
                self._bound.clear()
            found = self._bound[records] = self._bind(records)
        binding, outputs = found
        self._session.run_with_iobinding(binding)
        return outputs

    def _bind(self, records: int) -> tuple[ort.IOBinding, Mapping[str, Array]]:
        binding = self._session.io_binding()
        outputs = {name: array[:records] for name, array in self._outputs.items()}
        for spec in self._signature.inputs:
            binding.bind_ortvalue_input(spec.name, _value(self._inputs[spec.name][:records], spec))
        for spec in self._signature.outputs:
            binding.bind_ortvalue_output(spec.name, _value(outputs[spec.name], spec))
        return binding, outputs


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
