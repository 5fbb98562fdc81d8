"""A model in ONNX Runtime: loaded, checked against what it is said to be, and tried out.

The runtime falls back to the CPU without a word when the GPU it was asked for cannot be
used; only the session itself tells which provider runs. So that is what is asked, reported,
and refused where a GPU is required.
"""

import ctypes
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from lepton_common.errors import InvalidModel, WrongState
from lepton_inference.signature import Signature, TensorSpec, check_registered, may_batch
from lepton_inference.tensors import DATATYPES, Array

logger = logging.getLogger(__name__)

Device: TypeAlias = Literal["cpu", "cuda"]
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"

MAX_WARM_UP_BYTES = 64 << 20
"""Bytes of the inputs of a batch that warms a model up: those of the largest request."""

_BFLOAT16 = 16  # The number of the type in ONNX.
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
# The runtime's errors have no base class of their own.
_RUNTIME_ERRORS = tuple(
    error for error in vars(runtime).values() if isinstance(error, type) and issubclass(error, Exception)
)


@dataclass(frozen=True)
class RuntimeOptions:
    """How sessions run.

    `threads` is the number of cores one run may use, 0 for all. With `require_gpu` a model
    that would run on the CPU is not loaded.
    """

    device: Device = "cpu"
    threads: int = 0
    require_gpu: bool = False


class Model:
    """A session that has answered once; `run` may be called from any thread."""

    def __init__(self, session: ort.InferenceSession, classes: tuple[str, ...]) -> None:
        self._session = session
        self.provider: str = session.get_providers()[0]
        self.signature = Signature(
            inputs=tuple(map(_spec, session.get_inputs())),
            outputs=tuple(map(_spec, session.get_outputs())),
            classes=classes,
        )
        self._output_names = [spec.name for spec in self.signature.outputs]
        self._has_bfloat16 = "BF16" in {
            spec.datatype for spec in self.signature.inputs + self.signature.outputs
        }
        self.instances = 1
        """How many threads may run it at a time."""
        self.batched = may_batch(
            (node.shape for node in session.get_inputs()), (node.shape for node in session.get_outputs())
        )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name.

        Raises:
            InvalidModel: the graph cannot compute these inputs.
        """
        try:
            if self._has_bfloat16:
                return self._run_bound(inputs)
            outputs = self._session.run(self._output_names, inputs)
        except _RUNTIME_ERRORS as error:
            logger.warning("model run failed", exc_info=error)
            raise InvalidModel("the model cannot compute these inputs; the server's log says why") from error
        return dict(zip(self._output_names, outputs, strict=True))

    def try_out(self) -> None:
        """Runs records of zeros, and finds out whether records may really be put together.

        A model whose tensors have further dynamic dimensions may rightly refuse the ones tried
        here: that only costs it its batches.

        Raises:
            InvalidModel: the model cannot run at all.
        """
        fixed = all(-1 not in spec.shape[int(self.batched) :] for spec in self.signature.inputs)
        try:
            self.run(self._zeros(1))
            if self.batched:
                pair = self.run(self._zeros(2))
                self.batched = all(output.shape[:1] == (2,) for output in pair.values())
        except InvalidModel:
            if fixed:
                raise
            self.batched = False

    def warm_up(self, records: int) -> None:
        """Runs a batch of that size, so that the first real one finds memory and kernels ready.

        Of large records as many as a request can hold: an endpoint may allow more than there is memory for.
        """
        if self.batched:
            one = sum(array.nbytes for array in self._zeros(1).values())
            self.run(self._zeros(min(records, max(1, MAX_WARM_UP_BYTES // max(1, one)))))

    def _zeros(self, records: int) -> dict[str, Array]:
        inputs: dict[str, Array] = {}
        for spec in self.signature.inputs:
            shape = [1 if size == -1 else size for size in spec.shape]
            if self.batched:
                shape[0] = records
            dtype = DATATYPES[spec.datatype].dtype
            inputs[spec.name] = np.full(shape, "", dtype) if dtype.hasobject else np.zeros(shape, dtype)
        return inputs

    def _run_bound(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """`run` for models with bfloat16, whose values numpy can only carry as 16 bits."""
        binding = self._session.io_binding()
        values = []
        for spec in self.signature.inputs:
            array = np.ascontiguousarray(inputs[spec.name])
            if spec.datatype == "BF16":
                value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
            else:
                value = ort.OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_input(spec.name, value)
            values.append(value)
        for spec in self.signature.outputs:
            binding.bind_output(spec.name, "cpu")
        self._session.run_with_iobinding(binding)
        return {
            spec.name: _bits(value) if spec.datatype == "BF16" else value.numpy()
            for spec, value in zip(self.signature.outputs, binding.get_outputs(), strict=True)
        }


def load_model(path: Path, *, options: RuntimeOptions, registered: Signature) -> Model:
    """The model in an ONNX file, tried out.

    Raises:
        InvalidModel: the file is none, or its graph contradicts the `registered` signature or does not run.
        WrongState: a GPU is required and would not run it.
    """
    try:
        session = ort.InferenceSession(path, _session_options(options), providers=_providers(options.device))
    except _RUNTIME_ERRORS as error:
        logger.warning("model load failed", exc_info=error)
        raise InvalidModel(f"the runtime cannot load {path.name}; the server's log says why") from error
    model = Model(session, registered.classes)
    if options.require_gpu and model.provider != CUDA_PROVIDER:
        raise WrongState(f"a GPU is required and the model would run on {model.provider}")
    check_registered(model.signature, registered)
    model.try_out()
    return model


def _session_options(options: RuntimeOptions) -> ort.SessionOptions:
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    # Fatal ones only: every other error is raised, and told by who catches it.
    session_options.log_severity_level = 4
    # Threads that spin between runs take the cores from the server and from other models.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return session_options


def _providers(device: Device) -> list[str]:
    if device == "cuda":
        ort.preload_dlls()
        if CUDA_PROVIDER in ort.get_available_providers():
            return [CUDA_PROVIDER, CPU_PROVIDER]
    return [CPU_PROVIDER]


def _spec(node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise InvalidModel(f"{node.name!r} is {node.type}; only tensors can be served")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(node.name, datatype, shape)


def _bits(value: Any) -> Array:
    """The 16 bits of each element of a bfloat16 value, copied out of the runtime's memory."""
    pointer = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    return np.ctypeslib.as_array(pointer, shape=tuple(value.shape())).copy()
