"""A registry and an inference server on a core of its own, with the models of the storms."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from onnx import TensorProto, helper

from inference import grpc_service_pb2 as pb
from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.objects import ObjectStore

from ..integration.inference.conftest import InferenceServer, Registry, graph
from .load import LOAD_CORE, SERVER_CORE, on_core

IMAGE = (1, 28, 28)


@dataclass(frozen=True)
class Services:
    """What runs."""

    registry: Registry
    server: InferenceServer

    @property
    def process(self) -> psutil.Process:
        """The server's."""
        assert self.server.process is not None
        return psutil.Process(self.server.process.pid)


@contextmanager
def services(folder: Path, *, transport: str, **settings: str) -> Iterator[Services]:
    """Starts them; they end with the block."""
    with ExitStack() as stack:
        registry = Registry(folder / "registry", ObjectStore(f"file://{folder}/objects"))
        with on_core(LOAD_CORE):
            registry.start()
        stack.callback(registry.kill)
        server = InferenceServer(
            folder / "inference",
            registry,
            replica="first",
            TRANSPORT=transport,
            METRICS_LISTEN="127.0.0.1:0",
            **settings,
        )
        with on_core(SERVER_CORE):
            server.start()
        stack.callback(server.kill)
        yield Services(registry, server)


def serve(services: Services, endpoint: str, content: bytes, **batching: Any) -> str:
    """Serves a new version of a model under an endpoint, when it is ready; gives its name."""
    version = services.registry.publish(endpoint, content)
    services.registry.serve(endpoint, {version: 1}, **batching)
    services.registry.wait_for(endpoint, version, endpoint_pb2.SERVING_STATE_READY)
    return version


def cnn(shift: float = 0.0, *, channels: int = 64) -> bytes:
    """Images of 28x28, two convolutions with pooling, 10 classes; `shift` is added to all that it gives."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return (0.1 * rng.normal(size=shape)).astype(np.float32)

    pooling: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    return graph(
        [
            helper.make_node("Conv", ["x", "k1"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MaxPool", ["b"], ["c"], **pooling),
            helper.make_node("Conv", ["c", "k2"], ["d"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["d"], ["e"]),
            helper.make_node("MaxPool", ["e"], ["f"], **pooling),
            helper.make_node("Flatten", ["f"], ["g"]),
            helper.make_node("Gemm", ["g", "w", "v"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *IMAGE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        k1=weights(channels, 1, 3, 3),
        k2=weights(2 * channels, channels, 3, 3),
        w=weights(2 * channels * 7 * 7, 10),
        v=np.full(10, shift, np.float32),
    )


def image(endpoint: str, *, records: int = 1) -> bytes:
    """A request of one image, or of several."""
    array = np.random.default_rng(1).normal(size=(records, *IMAGE)).astype(np.float32)
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=array.shape)
    request = pb.ModelInferRequest(model_name=endpoint, inputs=[tensor], raw_input_contents=[array.tobytes()])
    return request.SerializeToString()
