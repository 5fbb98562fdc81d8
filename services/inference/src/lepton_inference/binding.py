"""Runs whose inputs and outputs are bound: for elements that numpy knows no type for, and for batches that
lie in the same place again and again.

The runtime copies what is bound straight between its place and the device. From page-locked memory it does
so while the CPU goes on, out of other memory only by way of a buffer of its own.
"""

import ctypes
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnxruntime as ort

from lepton_inference.batch import Empty
from lepton_inference.signature import Signature, TensorSpec
from lepton_inference.tensors import DATATYPES, Array

_BFLOAT16 = 16  # The number of the type in ONNX.
# So many numbers of rows are bound at a time.
_MOST_BOUND = 256


def can_bind(signature: Signature) -> bool:
    """Whether all tensors can be bound; strings cannot."""
    return "BYTES" not in _datatypes(signature)


def must_bind(signature: Signature) -> bool:
    """Whether tensors have elements that only binding carries: bfloat16, for numpy just 16 bits."""
    return "BF16" in _datatypes(signature)


def run_bound(
    session: ort.InferenceSession, signature: Signature, inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """All outputs by name, as `session.run` gives them."""
    binding = session.io_binding()
    for spec in signature.inputs:
        binding.bind_ortvalue_input(spec.name, _value(np.ascontiguousarray(inputs[spec.name]), spec))
    for spec in signature.outputs:
        binding.bind_output(spec.name, "cpu")
    session.run_with_iobinding(binding)
    return {
        spec.name: _array(value, spec)
        for spec, value in zip(signature.outputs, binding.get_outputs(), strict=True)
    }


def room_for_outputs(
    signature: Signature, *, records: int, most_bytes: int, empty: Empty = np.empty
) -> dict[str, Array] | None:
    """Room for the outputs for so many records; None if it is not known how much, or it is too much."""
    room: dict[str, Array] = {}
    size_bytes = 0
    for spec in signature.outputs:
        shape = (records, *spec.shape[1:])
        dtype = DATATYPES[spec.datatype].dtype
        if spec.shape[:1] not in ((-1,), (records,)) or -1 in shape:
            return None
        size_bytes += prod(shape) * dtype.itemsize
        if size_bytes > most_bytes:
            return None
        room[spec.name] = empty(shape, dtype)
    return room


class BoundRows:
    """Runs on the first rows of arrays that stay where they are.

    Args:
        session: what runs.
        signature: of a model whose records can be put together, and which has elements that can be bound.
        inputs: by name, with a row for each record.
        outputs: room for as many rows, as `room_for_outputs` gives it.
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


class CopiedRows:
    """The same for sessions on a GPU: inputs are copied there for every run, and outputs from there.

    Args:
        signature: see `BoundRows`.
        inputs: see `BoundRows`; best in page-locked memory, as the outputs.
        outputs: see `BoundRows`.
    """

    def __init__(
        self, signature: Signature, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        self._signature = signature
        self._inputs = inputs
        self._outputs = outputs
        self._bound: dict[tuple[int, int], tuple[ort.IOBinding, Sequence[tuple[str, ort.OrtValue]]]] = {}
        self._given: dict[int, Mapping[str, Array]] = {}

    def run(self, session: ort.InferenceSession, records: int, *, size: int) -> Mapping[str, Array]:
        """All outputs of so many records, which run as the first ones of a batch of this size.

        Raises:
            Exception: one of `RUNTIME_ERRORS`.
        """
        # Sessions last as long as their model: no other has this id.
        key = id(session), size
        found = self._bound.get(key)
        if found is None:
            if len(self._bound) >= _MOST_BOUND:
                self._bound.clear()
            found = self._bound[key] = self._bind(session, size)
        binding, values = found
        for name, value in values:
            # This is what copies.
            binding.bind_ortvalue_input(name, value)
        session.run_with_iobinding(binding)
        # The copies' memory is there for the next run, also of another size.
        binding.clear_binding_inputs()
        given = self._given.get(records)
        if given is None:
            given = {name: array[:records] for name, array in self._outputs.items()}
            self._given[records] = given
        return given

    def _bind(
        self, session: ort.InferenceSession, size: int
    ) -> tuple[ort.IOBinding, Sequence[tuple[str, ort.OrtValue]]]:
        binding = session.io_binding()
        for spec in self._signature.outputs:
            binding.bind_ortvalue_output(spec.name, _value(self._outputs[spec.name][:size], spec))
        inputs = self._signature.inputs
        return binding, [(spec.name, _value(self._inputs[spec.name][:size], spec)) for spec in inputs]


def _datatypes(signature: Signature) -> set[str]:
    return {spec.datatype for spec in signature.inputs + signature.outputs}


def _value(array: Array, spec: TensorSpec) -> ort.OrtValue:
    """The runtime's view of an array; it keeps the array."""
    if spec.datatype == "BF16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(value: Any, spec: TensorSpec) -> Array:
    if spec.datatype != "BF16":
        array: Array = value.numpy()
        return array
    # The 16 bits of each element, copied out of the runtime's memory.
    pointer = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    return np.ctypeslib.as_array(pointer, shape=tuple(value.shape())).copy()
