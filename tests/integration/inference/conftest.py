"""A registry that says what the tests want, and an inference server as a process of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from lepton.model.v1 import model_pb2
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore

T = TypeVar("T")


def until(condition: Callable[[], T], *, seconds: float = 30.0) -> T:
    """Waits until `condition` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
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


class Registry(endpoint_pb2_grpc.EndpointServiceServicer):
    """Says which endpoints there are, and remembers what it was told of them."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.reports: dict[str, endpoint_pb2.ReportReplicaRequest] = {}
        self._endpoints: dict[str, endpoint_pb2.Endpoint] = {}
        self.versions: dict[str, model_pb2.ModelVersion] = {}
        self._revision = 0
        self._changed = threading.Condition()
        self._server: grpc.Server | None = None
        self._port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listens; at the same port as before, if there was one."""
        self._server = grpc.server(ThreadPoolExecutor(16))
        endpoint_pb2_grpc.add_EndpointServiceServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()

    def stop(self) -> None:
        """Goes away."""
        if self._server:
            self._server.stop(0).wait()

    def publish(
        self,
        name: str,
        content: bytes,
        *,
        signature: model_pb2.Signature | None = None,
        format: "model_pb2.ModelFormat.ValueType" = model_pb2.MODEL_FORMAT_ONNX,
    ) -> str:
        """Stores a model as `models/{model}/versions/{number}`, given as `model/number`."""
        model, number = name.split("/")
        blob = put_blob(self.objects, "models", content)
        version = model_pb2.ModelVersion(
            name=f"models/{model}/versions/{number}",
            format=format,
            digest=blob.sha256,
            signature=signature,
            files=[
                model_pb2.ArtifactFile(
                    path="model.onnx", sha256=blob.sha256, size_bytes=blob.size_bytes, key=blob.key
                )
            ],
        )
        self.versions[version.name] = version
        return version.name

    def serve(self, endpoint: str, targets: dict[str, int], **batching: int) -> None:
        """Makes or replaces an endpoint of these version names and weights."""
        name = f"endpoints/{endpoint}"
        self._endpoints[name] = endpoint_pb2.Endpoint(
            name=name,
            targets=[
                endpoint_pb2.TrafficTarget(model_version=version, weight=weight)
                for version, weight in targets.items()
            ],
            batching=endpoint_pb2.Batching(**batching),
        )
        self._tell()

    def remove(self, endpoint: str) -> None:
        """Deletes an endpoint."""
        del self._endpoints[f"endpoints/{endpoint}"]
        self._tell()

    def clear(self) -> None:
        """Deletes all endpoints."""
        self._endpoints.clear()
        self._tell()

    def state(self, endpoint: str, version: str, *, replica: str = "first") -> endpoint_pb2.ServingStatus:
        """What a server reported last of a version."""
        report = self.reports.get(replica, endpoint_pb2.ReportReplicaRequest())
        for serving in report.endpoints:
            for status in serving.versions:
                if (serving.endpoint, status.model_version) == (f"endpoints/{endpoint}", version):
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

    def serve_and_wait(self, endpoint: str, targets: dict[str, int], **batching: int) -> None:
        """Serves, and waits until all versions are ready on the first server."""
        self.serve(endpoint, targets, **batching)
        for version in targets:
            self.wait_for(endpoint, version, endpoint_pb2.SERVING_STATE_READY)

    def WatchEndpoints(
        self, request: endpoint_pb2.WatchEndpointsRequest, context: Any
    ) -> Iterator[endpoint_pb2.WatchEndpointsResponse]:
        """All endpoints, now and after every change."""
        told = None
        while context.is_active():
            with self._changed:
                if told == self._revision:
                    self._changed.wait(0.1)
                    continue
                told = self._revision
                named = {target.model_version for e in self._endpoints.values() for target in e.targets}
                response = endpoint_pb2.WatchEndpointsResponse(
                    endpoints=self._endpoints.values(),
                    model_versions=[v for name, v in self.versions.items() if name in named],
                )
            yield response

    def ReportReplica(
        self, request: endpoint_pb2.ReportReplicaRequest, context: Any
    ) -> endpoint_pb2.ReportReplicaResponse:
        """Remembers."""
        self.reports[request.replica] = request
        return endpoint_pb2.ReportReplicaResponse()

    def _tell(self) -> None:
        with self._changed:
            self._revision += 1
            self._changed.notify_all()


class InferenceServer:
    """`python -m lepton_inference`, at one folder; may be started again and again."""

    def __init__(self, folder: Path, registry: Registry, *, replica: str, **settings: str) -> None:
        self.folder = folder
        self.address_file = folder / "address"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = {
            "LISTEN": "127.0.0.1:0",
            "ADDRESS_FILE": str(self.address_file),
            "OBJECT_STORE_URL": registry.objects.url,
            "REGISTRY_ADDRESS": registry.address,
            "RUN_DIRECTORY": str(folder / "run"),
            "REPLICA": replica,
            "THREADS": "1",
            **settings,
        }

    @property
    def address(self) -> str:
        return self.address_file.read_text()

    def start(self) -> float:
        """Starts it and gives the seconds until it listened."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.address_file.unlink(missing_ok=True)
        started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lepton_inference"],
                env=os.environ | {f"LEPTON_{name}": value for name, value in self._settings.items()},
                stdout=log,
                stderr=log,
            )
        until(lambda: self.address_file.exists() or self._process.poll() is not None)
        assert self._process.poll() is None, self.log.read_text()
        return time.monotonic() - started

    def stop(self) -> int:
        """Tells it to stop, and gives its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        """Ends it without a word."""
        self._process.kill()
        self._process.wait(10)

    @property
    def _process(self) -> "subprocess.Popen[bytes]":
        assert self.process is not None
        return self.process


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry without endpoints, one for all tests of a module."""
    registry = Registry(  # type: ignore[abstract]
        ObjectStore(f"file://{tmp_path_factory.mktemp('objects')}")
    )
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def server(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    """A server that follows `registry`, one for all tests of a module."""
    server = InferenceServer(tmp_path_factory.mktemp("inference"), registry, replica="first")
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
def new_server(registry: Registry) -> Iterator[Callable[[Path], InferenceServer]]:
    """A function that makes the replica `second`; what is left of it is ended after the test."""
    made: list[InferenceServer] = []

    def make(folder: Path, **settings: str) -> InferenceServer:
        made.append(InferenceServer(folder / "inference", registry, replica="second", **settings))
        return made[-1]

    yield make
    for server in made:
        if server.process and server.process.poll() is None:
            server.kill()
