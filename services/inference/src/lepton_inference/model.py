"""A model in ONNX Runtime: loaded, checked against what it is said to be, and tried out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from lepton_common.errors import InvalidModel, LeptonError, WrongState
from lepton_inference import cuda
from lepton_inference.binding import BoundRows, CopiedRows, can_bind, must_bind, room_for_outputs, run_bound
from lepton_inference.gpu import fatal_error, gpu_lost
from lepton_inference.pinned import PinnedMemory
from lepton_inference.pool import SessionPool
from lepton_inference.sessions import (
    GPU_PROVIDERS,
    RUNTIME_ERRORS,
    RuntimeOptions,
    open_session,
    provider_shares,
    replans_sizes,
)
from lepton_inference.signature import Signature, TensorSpec, check_registered, may_batch
from lepton_inference.tensors import DATATYPES, Array

logger = logging.getLogger(__name__)

MAX_WARM_UP_BYTES = 64 << 20
"""Bytes of the inputs of a batch that warms a model up: those of the largest request."""

# Outputs of larger batches are left to the runtime: to bind them gains little on a CPU, and holds memory.
_MOST_BOUND_BYTES = 1 << 20
_MOST_PINNED_BYTES = 64 << 20

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
    GPU, where runs of one session wait for each other, each thread has a session to itself; a convolutional
    network, for which batches of another size are planned anew, has one for each of a few sizes, to which
    its batches are filled up.

    `provider` is what the session says that it runs on, `provider_share` the share of the graph's nodes that
    it was really given, `memory_bytes` what the model was measured to take. `on_lost` is called when a run
    shows that the GPU is lost.

    Args:
        session: of the graph.
        open_session: makes one more.
        classes: see `Signature`.
        options: how it runs.
        on_lost: see above.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        open_session: Callable[[], ort.InferenceSession],
        classes: tuple[str, ...],
        *,
        options: RuntimeOptions,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
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
        self.pinned = PinnedMemory(cuda.allocate_host, cuda.free_host) if self.on_gpu else None
        """Where it has its inputs and outputs; None on a CPU. Whoever frees the sessions is to close it."""
        self._on_lost = on_lost
        self._lost = ""
        self._pool = SessionPool(session, open_session, places=options.instances if self.on_gpu else 1)
        self._divided = replans_sizes(session)
        self._must_bind = must_bind(self.signature)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, if not all of it."""
        return self.provider in GPU_PROVIDERS

    @property
    def sessions(self) -> list[ort.InferenceSession]:
        """All of them. They are in this list alone, and end when somebody empties it."""
        return self._pool.sessions

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs by name.

        Raises:
            InvalidModel: the graph cannot compute these inputs.
            GpuLost: the GPU is lost to this process.
        """
        if not self.on_gpu:
            return self._run(self.sessions[0], inputs)
        records = self._records(inputs)
        size = self._pool.size_for(records)
        if size != records:
            inputs = {name: _filled_up(array, size) for name, array in inputs.items()}
        with self._pool.session_for(size) as session:
            outputs = self._run(session, inputs)
        if size != records:
            return {name: array[:records] for name, array in outputs.items()}
        return outputs

    def empty(self, shape: Sequence[int], dtype: "np.dtype[Any]") -> Array:
        """Room for inputs and outputs, where they come to its device and from there the fastest.

        What fills a batch up to a size must not spoil it: it holds zeros until it has held records.
        """
        if self.pinned is None:
            return np.empty(shape, dtype)
        array = self.pinned.empty(shape, dtype)
        array.fill("" if dtype.hasobject else 0)
        return array

    def prepare(self, inputs: Mapping[str, Array]) -> Callable[[int], Mapping[str, Array]] | None:
        """What runs it on the first so many records of these arrays, again and again: see `batch.Prepare`.

        None where outputs are large, or of shapes that only a run tells.

        Raises from there what `run` raises.
        """
        bound = self._bind(inputs) if self.batched and can_bind(self.signature) else None
        if bound is None:
            return None

        def run(records: int) -> Mapping[str, Array]:
            nonlocal bound
            if bound is not None:
                try:
                    return bound(records)
                except RUNTIME_ERRORS:
                    pass
            try:
                # This says what is wrong. If nothing is, it gives other shapes than it says, and would again.
                plain = self.run({name: array[:records] for name, array in inputs.items()})
            except LeptonError:
                # What spoilt this batch must not fill up the next.
                for array in inputs.values():
                    array.fill(0)
                raise
            bound = None
            return plain

        return run

    def _bind(self, inputs: Mapping[str, Array]) -> Callable[[int], Mapping[str, Array]] | None:
        most = len(next(iter(inputs.values())))
        most_bytes = _MOST_PINNED_BYTES if self.on_gpu else _MOST_BOUND_BYTES
        outputs = room_for_outputs(self.signature, records=most, most_bytes=most_bytes, empty=self.empty)
        if outputs is None:
            return None
        if not self.on_gpu:
            return BoundRows(self.sessions[0], self.signature, inputs, outputs).run
        rows, pool = CopiedRows(self.signature, inputs, outputs), self._pool

        def run(records: int) -> Mapping[str, Array]:
            if self._lost:
                raise gpu_lost()
            size = min(pool.size_for(records), most)
            with pool.session_for(size) as session:
                return rows.run(session, records, size=size)

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

    def divide(self, records: int) -> None:
        """Gets ready for batches of up to so many records: see `SessionPool.divide`.

        Raises:
            WrongState: the GPU has no room for that.
            GpuLost: see `run`.
        """
        if self.batched and self._divided:
            self._pool.divide(records)

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
        most = max(1, MAX_WARM_UP_BYTES // max(1, one))
        for size in self._pool.sizes or (records,):
            batch = self._zeros(min(size, most))
            if self.instances == 1:
                for _ in range(runs):
                    self.run(batch)
                continue
            sessions = self._pool.sessions_for(size)
            if not self.on_gpu:
                sessions *= self.instances
            with ThreadPoolExecutor(self.instances, thread_name_prefix="warm-up") as threads:
                for _ in range(runs):
                    list(threads.map(partial(self._run, inputs=batch), sessions))

    def _records(self, inputs: Mapping[str, Array]) -> int:
        """How many records inputs have; 0 where it does not run on records."""
        return len(inputs[self.signature.inputs[0].name]) if self.batched else 0

    def _run(self, session: ort.InferenceSession, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._lost:
            raise gpu_lost()
        try:
            if self._must_bind:
                return run_bound(session, self.signature, inputs)
            outputs = session.run(self._output_names, inputs)
        except RUNTIME_ERRORS as error:
            raise self._explain(error) from error
        return dict(zip(self._output_names, outputs, strict=True))

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
            inputs[spec.name] = _blank(shape, DATATYPES[spec.datatype].dtype)
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
        WrongState: a GPU is required and would not run it, or has no room for all sessions.
        GpuLost: see `Model.run`.
    """
    session = open_session(path, options, on_lost=on_lost)
    provider = session.get_providers()[0]

    def one_more() -> ort.InferenceSession:
        more = open_session(path, options, on_lost=on_lost)
        if more.get_providers()[0] != provider:
            raise WrongState(f"{provider} has no room for all sessions of the model")
        return more

    model = Model(session, one_more, registered.classes, options=options, on_lost=on_lost)
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


def _filled_up(array: Array, size: int) -> Array:
    """The array with so many rows: more of them, of what tensors are tried out with."""
    made = _blank((size, *array.shape[1:]), array.dtype)
    made[: len(array)] = array
    return made


def _blank(shape: Sequence[int], dtype: "np.dtype[Any]") -> Array:
    """Zeros, or empty strings."""
    return np.full(shape, "", dtype) if dtype.hasobject else np.zeros(shape, dtype)


def _spec(node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise InvalidModel(f"{node.name!r} is {node.type}; only tensors can be served")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(node.name, datatype, shape)
