"""A registry and an inference server, each a process of its own, and models to serve."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2, endpoint_pb2_grpc
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore

T = TypeVar("T")


def until(condition: Callable[[], T], *, seconds: float = 30.0) -> T:
    """Waits until `condition` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
    return result


def graph(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **weights: Any,
) -> bytes:
    """An ONNX model."""
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    made = helper.make_model(
        helper.make_graph(nodes, "graph", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.checker.check_model(made)
    return made.SerializeToString()


def scaler(factor: float) -> bytes:
    """Multiplies FP32 `x` [batch, 2] into `y`."""
    return graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        factor=np.float32(factor),
    )


def records() -> bytes:
    """Takes raw records, as exported models do: an image, a number, an integer and a category."""
    batch: list[str | int | None] = ["batch", 1]
    return graph(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["pixels", "axes"], ["brightness"], keepdims=0),
            helper.make_node("Unsqueeze", ["brightness", "last"], ["light"]),
            helper.make_node("Cast", ["count"], ["counted"], to=TensorProto.FLOAT),
            helper.make_node("Sum", ["light", "age", "counted"], ["score"]),
            helper.make_node("Identity", ["colour"], ["echo"]),
        ],
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 2, 2]),
            helper.make_tensor_value_info("age", TensorProto.FLOAT, batch),
            helper.make_tensor_value_info("count", TensorProto.INT64, batch),
            helper.make_tensor_value_info("colour", TensorProto.STRING, batch),
        ],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, batch),
            helper.make_tensor_value_info("echo", TensorProto.STRING, batch),
        ],
        axes=np.array([1, 2]),
        last=np.array([1]),
    )


def mlp(inputs: int = 784, hidden: int = 128, classes: int = 10) -> bytes:
    """A classifier with weights of no meaning."""
    rng = np.random.default_rng(0)
    return graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["z"]),
            helper.make_node("Relu", ["z"], ["h"]),
            helper.make_node("Gemm", ["h", "w2", "b2"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])],
        w1=rng.normal(size=(inputs, hidden)).astype(np.float32) * 0.1,
        b1=np.zeros(hidden, np.float32),
        w2=rng.normal(size=(hidden, classes)).astype(np.float32) * 0.1,
        b2=np.zeros(classes, np.float32),
    )


class Process:
    """A service as a process of its own, which may be ended and started again at its folder."""

    def __init__(self, module: str, folder: Path, **settings: str) -> None:
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._module = module
        self._address_file = folder / "address"
        self._settings = {"LISTEN": "127.0.0.1:0", "ADDRESS_FILE": str(self._address_file), **settings}

    @property
    def address(self) -> str:
        return self._address_file.read_text()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        self._address_file.parent.mkdir(parents=True, exist_ok=True)
        self._address_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            process = self.process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env=os.environ | {f"LEPTON_{name}": value for name, value in self._settings.items()},
                stdout=log,
                stderr=log,
            )
        until(lambda: self._address_file.exists() or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()

    def change(self, **settings: str) -> None:
        """Gives it other settings, from the next start on."""
        self._settings |= settings

    def stop(self) -> int:
        """Tells it to stop, and gives its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """Ends it without a word."""
        if self.process is not None and self.is_running:
            self.process.kill()
            self.process.wait(10)


class Registry(Process):
    """The registry, and what a test asks of it."""

    def __init__(self, folder: Path, objects: ObjectStore) -> None:
        super().__init__(
            "lepton_registry",
            folder,
            DATABASE_URL=f"sqlite:///{folder}/records.db",
            OBJECT_STORE_URL=objects.url,
        )
        self.objects = objects
        self.versions: dict[str, model_pb2.ModelVersion] = {}

    def start(self) -> None:
        """Starts it; at the same address as before, if it had one."""
        super().start()
        self._settings["LISTEN"] = self.address
        self._channel = grpc.insecure_channel(self.address)
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._endpoints = endpoint_pb2_grpc.EndpointServiceStub(self._channel)

    def kill(self) -> None:
        """Ends it without a word."""
        self._channel.close()
        super().kill()

    def publish(self, model: str, content: bytes, *, signature: model_pb2.Signature | None = None) -> str:
        """Stores and registers a model, and gives the name of its version."""
        blob = put_blob(self.objects, "models", content)
        file = model_pb2.ArtifactFile(
            path="model.onnx", sha256=blob.sha256, size_bytes=blob.size_bytes, key=blob.key
        )
        version = model_pb2.ModelVersion(
            format=model_pb2.MODEL_FORMAT_ONNX, files=[file], signature=signature
        )
        request = model_pb2.CreateModelVersionRequest(parent=f"models/{model}", model_version=version)
        made = self._models.CreateModelVersion(request).model_version
        self.versions[made.name] = made
        return made.name

    def serve(
        self,
        endpoint: str,
        targets: dict[str, int],
        *,
        execution: endpoint_pb2.Execution | None = None,
        response_cache_bytes: int = 0,
        **batching: Any,
    ) -> None:
        """Makes or replaces an endpoint of these version names and weights."""
        wanted = endpoint_pb2.Endpoint(
            name=f"endpoints/{endpoint}",
            targets=[
                endpoint_pb2.TrafficTarget(model_version=version, weight=weight)
                for version, weight in targets.items()
            ],
            batching=endpoint_pb2.Batching(**batching),
            execution=execution,
            response_cache_bytes=response_cache_bytes,
        )
        try:
            self._endpoints.UpdateEndpoint(endpoint_pb2.UpdateEndpointRequest(endpoint=wanted))
        except grpc.RpcError:
            self._endpoints.CreateEndpoint(
                endpoint_pb2.CreateEndpointRequest(endpoint_id=endpoint, endpoint=wanted)
            )

    def follow(self, endpoint: str, model: str, *, latest: int = 1) -> None:
        """Makes an endpoint that follows the latest versions of a model."""
        versions = endpoint_pb2.LatestVersions(count=latest)
        follow = endpoint_pb2.Follow(model=f"models/{model}", latest=versions)
        self._endpoints.CreateEndpoint(
            endpoint_pb2.CreateEndpointRequest(
                endpoint_id=endpoint, endpoint=endpoint_pb2.Endpoint(follow=follow)
            )
        )

    def unpublish(self, version: str) -> None:
        """Deletes a version."""
        self._models.DeleteModelVersion(model_pb2.DeleteModelVersionRequest(name=version))

    def serve_and_wait(self, endpoint: str, targets: dict[str, int], **batching: Any) -> None:
        """Serves, and waits until all versions are ready on the first server."""
        self.serve(endpoint, targets, **batching)
        for version in targets:
            self.wait_for(endpoint, version, endpoint_pb2.SERVING_STATE_READY)

    def remove(self, endpoint: str) -> None:
        """Deletes an endpoint."""
        self._endpoints.DeleteEndpoint(endpoint_pb2.DeleteEndpointRequest(name=f"endpoints/{endpoint}"))

    def clear(self) -> None:
        """Deletes all endpoints."""
        for endpoint in self._endpoints.ListEndpoints(endpoint_pb2.ListEndpointsRequest()).endpoints:
            self.remove(endpoint.name.removeprefix("endpoints/"))

    def state(self, endpoint: str, version: str, *, replica: str = "first") -> endpoint_pb2.ServingStatus:
        """What a server reported last of a version."""
        request = endpoint_pb2.GetEndpointRequest(name=f"endpoints/{endpoint}")
        for status in self._endpoints.GetEndpoint(request).endpoint.serving:
            if (status.model_version, status.replica) == (version, replica):
                return status
        return endpoint_pb2.ServingStatus()

    def wait_for(
        self,
        endpoint: str,
        version: str,
        state: "endpoint_pb2.ServingState.ValueType",
        *,
        replica: str = "first",
    ) -> endpoint_pb2.ServingStatus:
        """Waits until a server reports a version in this state."""
        until(lambda: self.state(endpoint, version, replica=replica).state == state)
        return self.state(endpoint, version, replica=replica)


class InferenceServer(Process):
    """An inference server that follows a registry."""

    def __init__(self, folder: Path, registry: Registry, *, replica: str, **settings: str) -> None:
        super().__init__(
            "lepton_inference",
            folder,
            OBJECT_STORE_URL=registry.objects.url,
            REGISTRY_ADDRESS=registry.address,
            RUN_DIRECTORY=str(folder / "run"),
            REPLICA=replica,
            THREADS="1",
            **settings,
        )


# What carries the calls of servers, in their settings.
TRANSPORTS = {
    "grpc": {"TRANSPORT": "grpc"},
    "http2": {"TRANSPORT": "http2"},
    "http2 with workers": {"TRANSPORT": "http2", "WORKERS": "2"},
}


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """What carries the calls of the servers of a test: every test runs on all."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, transport: str) -> Iterator[Registry]:
    """A registry without endpoints, one for all tests of a module on one transport."""
    objects = ObjectStore(f"file://{tmp_path_factory.mktemp('objects')}")
    registry = Registry(tmp_path_factory.mktemp("registry"), objects)
    registry.start()
    yield registry
    registry.kill()


@pytest.fixture(scope="module")
def server(
    registry: Registry, transport: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InferenceServer]:
    """A server that follows `registry`, one for all tests of a module."""
    server = InferenceServer(
        tmp_path_factory.mktemp("inference"), registry, replica="first", **TRANSPORTS[transport]
    )
    server.start()
    yield server
    assert server.stop() == 0


@pytest.fixture
async def stub(server: InferenceServer) -> AsyncIterator["pb_grpc.GRPCInferenceServiceAsyncStub"]:
    """A client of `server`."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def models() -> dict[str, Callable[..., bytes]]:
    """What makes the models of the tests, by name."""
    return {"scaler": scaler, "records": records, "mlp": mlp}


@pytest.fixture(scope="module")
def tritonclient_python() -> str:
    """The interpreter of the environment that holds the published client."""
    path = os.environ.get(
        "LEPTON_TRITONCLIENT_PYTHON", str(Path(__file__).parents[3] / ".venv-tritonclient/bin/python")
    )
    assert Path(path).exists(), f"{path} is not there: run `make setup .venv-tritonclient/stamp`"
    return path


@pytest.fixture
def ask() -> Callable[..., pb.ModelInferRequest]:
    """A function that makes a request for a scaler of FP32 `x` [batch, 2]."""

    def request(endpoint: str, *values: float, version: str = "", id: str = "") -> pb.ModelInferRequest:
        array = np.array([[value, value] for value in values], np.float32)
        return pb.ModelInferRequest(
            model_name=endpoint,
            model_version=version,
            id=id,
            inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=array.shape)],
            raw_input_contents=[array.tobytes()],
        )

    return request


@pytest.fixture
def new_server(registry: Registry, transport: str) -> Iterator[Callable[[Path], InferenceServer]]:
    """A function that makes the replica `second`; what is left of it is ended after the test."""
    made: list[InferenceServer] = []

    def make(folder: Path, **settings: str) -> InferenceServer:
        options = {**TRANSPORTS[transport], **settings}
        made.append(InferenceServer(folder / "inference", registry, replica="second", **options))
        return made[-1]

    yield make
    for server in made:
        server.kill()
