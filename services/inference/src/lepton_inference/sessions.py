"""Sessions of ONNX Runtime: how they run, what was asked to run them, and what really does.

The runtime falls back to the CPU without a word when the GPU it was asked for cannot be used, when a
session is made and again when a run fails. Here it may not: what is tried next is tried in the open, and
the session itself is asked which provider it has and what the graph's nodes were given to.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from lepton_common.errors import InvalidModel
from lepton_common.machine import usable_cores
from lepton_inference.catalogue import Execution
from lepton_inference.gpu import fatal_error, gpu_lost

logger = logging.getLogger(__name__)

Device: TypeAlias = Literal["cpu", "cuda", "tensorrt"]
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
GPU_PROVIDERS = frozenset({CUDA_PROVIDER, TENSORRT_PROVIDER})

CUDA_OPTIONS = {
    "arena_extend_strategy": "kSameAsRequested",
    # To try out all algorithms of a convolution takes five times as long as to ask for the likely best, for
    # every shape, and what it finds runs no faster.
    "cudnn_conv_algo_search": "HEURISTIC",
}

# Operators whose algorithm is planned for one shape.
_PLANNED = frozenset({"Conv", "FusedConv", "NhwcConv", "NhwcFusedConv", "ConvTranspose"})

# The runtime's errors have no base class of their own, and some of its providers raise Python's.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(error for error in vars(runtime).values() if isinstance(error, type) and issubclass(error, Exception)),
    RuntimeError,
)


@dataclass(frozen=True)
class RuntimeOptions:
    """How sessions run.

    `threads` is the number of cores one run may use, 0 for all that the process may use; `instances` is
    how many runs there may be at a time. With `require_gpu` a model that would run on the CPU is not loaded.
    TensorRT keeps what it builds in the folder `engines`; None: it builds anew every time.
    """

    device: Device = "cpu"
    threads: int = 0
    require_gpu: bool = False
    instances: int = 1
    engines: Path | None = None

    @property
    def cores(self) -> int:
        """How many one run may use."""
        return self.threads or usable_cores()

    def of(self, execution: Execution) -> "RuntimeOptions":
        """The same, with what an endpoint says of its own."""
        return replace(
            self,
            device=execution.provider or self.device,
            threads=execution.threads or self.threads,
            instances=execution.instances,
        )


def open_session(
    path: Path, options: RuntimeOptions, *, on_lost: Callable[[str], None] | None = None
) -> ort.InferenceSession:
    """A session for the file, on the best of the wanted providers that can be had.

    Raises:
        InvalidModel: the runtime cannot load the file, not even on the CPU.
        GpuLost: the GPU was found lost; `on_lost` is told why.
    """
    providers = _providers(options)
    while True:
        try:
            return ort.InferenceSession(
                path, _session_options(options), providers=providers, enable_fallback=0
            )
        except RUNTIME_ERRORS as error:
            logger.warning("model load failed", exc_info=error, extra={"provider": _name(providers[0])})
            if len(providers) > 1 and (reason := fatal_error(str(error))):
                if on_lost:
                    on_lost(reason)
                raise gpu_lost() from error
            if len(providers) == 1:
                raise InvalidModel(
                    f"the runtime cannot load {path.name}; the server's log says why"
                ) from error
        providers = providers[1:]


def provider_shares(session: ort.InferenceSession) -> dict[str, float]:
    """The share of the graph's nodes that each provider was given, by its name; those of subgraphs count.

    The runtime notes it down while it partitions the graph. Copies between devices, which it adds later,
    are not counted.
    """
    nodes: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] += len(part.get_nodes())
    if not nodes:
        # A graph that hands its inputs through has no nodes.
        return {session.get_providers()[0]: 1.0}
    return {name: count / nodes.total() for name, count in nodes.items()}


def replans_sizes(session: ort.InferenceSession) -> bool:
    """Whether a batch takes much longer to run where the last one had another size.

    The CUDA provider plans a convolution anew whenever its shapes change, and keeps one plan alone
    (https://github.com/microsoft/onnxruntime/issues/23006): that takes 3 ms for a small network, and 85 ms
    for ResNet-50, which runs in 2 ms.
    """
    return any(
        node.op_type in _PLANNED
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == CUDA_PROVIDER
        for node in part.get_nodes()
    )


def _session_options(options: RuntimeOptions) -> ort.SessionOptions:
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = options.cores
    # Fatal ones only: every other error is raised, and told by who catches it.
    session_options.log_severity_level = 4
    # Threads that spin between runs take the cores from the server and from other models.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session_options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # Weights get memory of just their size, and not out of an arena, which grows in powers of two.
    session_options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return session_options


def _providers(options: RuntimeOptions) -> list[Any]:
    """The wanted providers that this runtime was built with, best first."""
    if options.device == "cpu":
        return [CPU_PROVIDER]
    ort.preload_dlls()
    wanted: list[Any] = [(CUDA_PROVIDER, CUDA_OPTIONS), CPU_PROVIDER]
    if options.device == "tensorrt":
        wanted.insert(0, (TENSORRT_PROVIDER, tensorrt_options(options.engines)))
    available = ort.get_available_providers()
    return [provider for provider in wanted if _name(provider) in available]


def tensorrt_options(engines: Path | None) -> dict[str, str]:
    """Options of the TensorRT provider: engines take minutes to build, so they are kept in a folder."""
    if engines is None:
        return {}
    engines.mkdir(parents=True, exist_ok=True)
    folder = str(engines)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


def _name(provider: Any) -> str:
    return str(provider[0] if isinstance(provider, tuple) else provider)
