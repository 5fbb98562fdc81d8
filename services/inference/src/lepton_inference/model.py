"""A model in ONNX Runtime: loaded, checked against what it is said to be, and tried out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnxruntime as ort

from lepton_common.errors import InvalidModel, LeptonError, WrongState
from lepton_inference import cuda
from lepton_inference.binding import BoundRows, can_bind, must_bind, run_bound
from lepton_inference.gpu import fatal_error, gpu_lost
from lepton_inference.pinned import PinnedMemory
from lepton_inference.sessions import (
    GPU_PROVIDERS,
    RUNTIME_ERRORS,
    RuntimeOptions,
    open_session,
    provider_shares,
)
from lepton_inference.signature import Signature, TensorSpec, check_registered, may_batch
from lepton_inference.tensors import DATATYPES, Array

logger = logging.getLogger(__name__)

MAX_WARM_UP_BYTES = 64 << 20
"""Bytes of the inputs of a batch that warms a model up: those of the largest request."""

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


class Model:
    """Sessions of one graph, which have answered once; `instances` threads may call `run` at a time.

    On the CPU one session serves them all: it may run several times at once, and has the weights once. On a
    GPU, where runs of one session wait for each other, each thread has a session to itself.

    `provider` is what the session says that it runs on, `provider_share` the share of the graph's nodes that
    it was really given, `memory_bytes` what the model was measured to take. `on_lost` is called when a run
    shows that the GPU is lost.
    """

    def __init__(
        self,
        sessions: Sequence[ort.InferenceSession],
        classes: tuple[str, ...],
        *,
        options: RuntimeOptions,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        session = sessions[0]
        self.sessions = list(sessions)
        self.instances = options.instances
        self.threads = options.threads
        self.memory_bytes = 0
        self.provider: str = session.get_providers()[0]
        self.provider_share = provider_shares(session).get(self.provider, 0.0)
        self.signature = Signature(
            inputs=tuple(map(_spec, session.get_inputs())),
            outputs=tuple(map(_spec, session.get_outputs())),
            classes=classes,
        )
        self._output_names = [spec.name for spec in self.signature.outputs]
        self.batched = may_batch(
            (node.shape for node in session.get_inputs()), (node.shape for node in session.get_outputs())
        )
        self._on_lost = on_lost
        self._lost = ""
        # Their places: sessions are in one list alone, and end when somebody empties it.
        self._free: SimpleQueue[int] = SimpleQueue()
        for place in range(len(self.sessions)):
            self._free.put(place)
        self._bound = must_bind(self.signature) or (self.on_gpu and can_bind(self.signature))
        self._pinned = PinnedMemory(cuda.allocate_host, cuda.free_host) if self.on_gpu else None

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, if not all of it."""
        return self.provider in GPU_PROVIDERS

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name.

        Raises:
            InvalidModel: the graph cannot compute these inputs.
            GpuLost: the GPU is lost to this process.
        """
        if len(self.sessions) == 1:
            return self._run(self.sessions[0], inputs)
        place = self._free.get()
        try:
            return self._run(self.sessions[place], inputs)
        finally:
            self._free.put(place)

    def prepare(self, inputs: Mapping[str, Array]) -> Callable[[int], Mapping[str, Array]] | None:
        """What runs it on the first so many records of these arrays, again and again: see `batch.Prepare`.

        None where outputs are large, or of shapes that only a run tells, and on a GPU.

        Raises from there what `run` raises.
        """
        if self.on_gpu or not self.batched or not can_bind(self.signature):
            return None
        outputs = BoundRows.outputs(self.signature, records=len(next(iter(inputs.values()))))
        if outputs is None:
            return None
        bound: BoundRows | None = BoundRows(self.sessions[0], self.signature, inputs, outputs)

        def run(records: int) -> Mapping[str, Array]:
            nonlocal bound
            if bound is not None:
                try:
                    return bound.run(records)
                except RUNTIME_ERRORS:
                    pass
            # This says what is wrong. If nothing is, it gives other shapes than it says, and would again.
            plain = self.run({name: array[:records] for name, array in inputs.items()})
            bound = None
            return plain

        return run

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

    def warm_up(self, records: int, *, runs: int = 1) -> None:
        """Runs batches of that size, so that the first real one finds memory and kernels ready.

        All instances run at once, as they may later. Of large records a batch has as many as a request can
        hold: an endpoint may allow more than there is memory for.

        Raises:
            InvalidModel, GpuLost: see `run`.
        """
        if not self.batched or not runs:
            return
        one = sum(array.nbytes for array in self._zeros(1).values())
        batch = self._zeros(min(records, max(1, MAX_WARM_UP_BYTES // max(1, one))))
        if self.instances == 1:
            for _ in range(runs):
                self.run(batch)
            return
        sessions = self.sessions if len(self.sessions) > 1 else self.sessions * self.instances
        with ThreadPoolExecutor(self.instances, thread_name_prefix="warm-up") as threads:
            for _ in range(runs):
                list(threads.map(partial(self._run, inputs=batch), sessions))

    def _run(self, session: ort.InferenceSession, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._lost:
            raise gpu_lost()
        try:
            if self._bound:
                return self._run_bound(session, inputs)
            outputs = session.run(self._output_names, inputs)
        except RUNTIME_ERRORS as error:
            raise self._explain(error) from error
        return dict(zip(self._output_names, outputs, strict=True))

    def _run_bound(self, session: ort.InferenceSession, inputs: Mapping[str, Array]) -> dict[str, Array]:
        records = len(inputs[self.signature.inputs[0].name]) if self.batched else None
        return run_bound(session, self.signature, inputs, records=records, memory=self._pinned)

    def _explain(self, error: Exception) -> LeptonError:
        logger.warning("model run failed", exc_info=error)
        if self.on_gpu and (reason := fatal_error(str(error))):
            self._lost = reason
            if self._on_lost:
                self._on_lost(reason)
            return gpu_lost()
        return InvalidModel("the model cannot compute these inputs; the server's log says why")

    def _zeros(self, records: int) -> dict[str, Array]:
        inputs: dict[str, Array] = {}
        for spec in self.signature.inputs:
            shape = [1 if size == -1 else size for size in spec.shape]
            if self.batched:
                shape[0] = records
            dtype = DATATYPES[spec.datatype].dtype
            inputs[spec.name] = np.full(shape, "", dtype) if dtype.hasobject else np.zeros(shape, dtype)
        return inputs


def load_model(
    path: Path,
    *,
    options: RuntimeOptions,
    registered: Signature,
    on_lost: Callable[[str], None] | None = None,
) -> Model:
    """The model in an ONNX file, tried out.

    Raises:
        InvalidModel: the file is none, or its graph contradicts the `registered` signature or does not run.
        WrongState: a GPU is required and would not run it, or has no room for all instances.
        GpuLost: see `Model.run`.
    """
    sessions = [open_session(path, options, on_lost=on_lost)]
    provider = sessions[0].get_providers()[0]
    while provider in GPU_PROVIDERS and len(sessions) < options.instances:
        sessions.append(open_session(path, options, on_lost=on_lost))
        if sessions[-1].get_providers()[0] != provider:
            raise WrongState(f"{provider} has room for {len(sessions) - 1} of {options.instances} instances")
    model = Model(sessions, registered.classes, options=options, on_lost=on_lost)
    if options.require_gpu:
        _check_on_gpu(model)
    check_registered(model.signature, registered)
    model.try_out()
    return model


def _check_on_gpu(model: Model) -> None:
    """Refuses what the CPU alone would run, also where the runtime has a GPU and gives it nothing."""
    if not model.on_gpu:
        raise WrongState(f"a GPU is required and the model would run on {model.provider}")
    if not GPU_PROVIDERS & provider_shares(model.sessions[0]).keys():
        raise WrongState(f"a GPU is required and {model.provider} would run none of the model's nodes")


def _spec(node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise InvalidModel(f"{node.name!r} is {node.type}; only tensors can be served")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(node.name, datatype, shape)
