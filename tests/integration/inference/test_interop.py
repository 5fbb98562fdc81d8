"""Clients that know nothing of Lepton: each lists, loads, describes and infers, with no special case."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from inference import grpc_service_pb2, grpc_service_pb2_grpc, model_config_pb2
from lepton.endpoint.v1.endpoint_pb2 import SERVING_STATE_READY

from .conftest import until

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

ROOT = Path(__file__).parents[3]
PROGRAMS = Path(__file__).parent / "interop"
DOUBLED = [[2, 4], [6, 8]]
READY = {"state": "READY", "reason": "CPUExecutionProvider runs 100% of it"}


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """What a program prints; its failure is the test's."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tool(name: str) -> str:
    """A program that `make build/tools/stamp` builds where Go is installed."""
    built = ROOT / "build/tools" / name
    found = str(built) if built.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"no {name}: `make build/tools/stamp` builds it where Go is installed")
    return found


@pytest.fixture(scope="module")
def grpcurl() -> str:
    """The program that calls any server which offers reflection."""
    return tool("grpcurl")


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contract, for clients without generated code."""
    files = [
        FileDescriptorProto.FromString(file.DESCRIPTOR.serialized_pb)
        for file in (model_config_pb2, grpc_service_pb2)
    ]
    path = tmp_path_factory.mktemp("descriptors") / "inference.binpb"
    path.write_bytes(FileDescriptorSet(file=files).SerializeToString())
    return path


@pytest.fixture(scope="module")
def node_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session of Node's client, its packages installed beside it."""
    if not shutil.which("npm"):
        pytest.skip("no Node on this machine")
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(PROGRAMS / "node", folder, dirs_exist_ok=True)
    run("npm", "ci", "--silent", "--ignore-scripts", folder=folder)
    return folder / "session.mjs"


@pytest.fixture(scope="module")
def endpoint(registry: Registry, server: InferenceServer, models: dict[str, Callable[..., bytes]]) -> str:
    """An endpoint that doubles, at version 1."""
    registry.serve_and_wait("doubler", {registry.publish("doubler", models["scaler"](2)): 1})
    return "doubler"


def test_the_contract_is_the_published_one(tritonclient_python: str) -> None:
    spec = importlib.util.spec_from_file_location("wire", PROGRAMS / "wire.py")
    assert spec is not None and spec.loader is not None
    wire = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wire)
    ours = wire.describe(grpc_service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    published = json.loads(run(tritonclient_python, PROGRAMS / "wire.py"))
    # What MLServer has and Triton's clients pass over.
    added = (
        "inference.ModelMetadataResponse.ParametersEntry",
        "inference.ModelMetadataResponse.parameters = 6",
    )
    assert [line for line in ours if not any(name in line for name in added)] == published
    assert len(published) > 500


def test_tritonclient(tritonclient_python: str, server: InferenceServer, endpoint: str) -> None:
    seen = json.loads(
        run(tritonclient_python, PROGRAMS / "tritonclient_session.py", server.address, endpoint)
    )
    assert seen["live"] and seen["ready"]
    assert seen["server"] == "lepton-inference"
    assert seen["index"] == [{"name": "doubler", "version": "1", **READY}]
    assert (seen["ready_when_unloaded"], seen["ready_when_loaded"]) == (False, True)
    assert seen["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "2"]}]
    assert seen["config"]["max_batch_size"] == 32
    assert seen["config"]["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["2"]}]
    assert (seen["version"], seen["id"], seen["y"]) == ("1", "mine", DOUBLED)
    assert seen["classes"] == ["4.000000:1", "8.000000:1"]
    assert int(seen["statistics"][0]["inference_count"]) >= 4
    assert seen["error"] == ["StatusCode.NOT_FOUND", "no endpoint is named 'nothing'"]
    assert seen["shared_memory"] == "StatusCode.UNIMPLEMENTED"
    assert seen["stream"] == ["0", "1", "2", "3", "no endpoint is named 'nothing'", "5", "6", "7", "8", "9"]
    assert seen["together"] == [DOUBLED] * 20


def test_grpcurl_by_reflection(grpcurl: str, server: InferenceServer, endpoint: str) -> None:
    def call(method: str, request: dict[str, Any]) -> Any:
        target = f"inference.GRPCInferenceService/{method}"
        return json.loads(run(grpcurl, "-plaintext", "-d", json.dumps(request), server.address, target))

    listed = run(grpcurl, "-plaintext", server.address, "list").split()
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= {*listed}
    for symbol in ("inference.GRPCInferenceService", "inference.GRPCInferenceService.ModelInfer"):
        described = run(grpcurl, "-plaintext", server.address, "describe", symbol)
        assert "rpc ModelInfer ( .inference.ModelInferRequest )" in described
    (model,) = call("RepositoryIndex", {})["models"]
    assert (model["name"], model["version"], model["state"]) == (endpoint, "1", "READY")
    call("RepositoryModelLoad", {"model_name": endpoint})
    assert call("ModelReady", {"name": endpoint}) == {"ready": True}
    assert call("ModelMetadata", {"name": endpoint})["outputs"][0]["datatype"] == "FP32"
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2]}
    typed = {**tensor, "contents": {"fp32_contents": [1, 2, 3, 4]}}
    answer = call("ModelInfer", {"model_name": endpoint, "inputs": [typed]})
    assert answer["outputs"][0]["contents"]["fp32_contents"] == [2, 4, 6, 8]
    raw = b64encode(struct.pack("<4f", 1, 2, 3, 4)).decode()
    answer = call("ModelInfer", {"model_name": endpoint, "inputs": [tensor], "raw_input_contents": [raw]})
    assert answer["raw_output_contents"] == [b64encode(struct.pack("<4f", 2, 4, 6, 8)).decode()]


def test_node(node_session: Path, server: InferenceServer, endpoint: str) -> None:
    seen = json.loads(
        run("node", node_session, ROOT / "protos", server.address, endpoint, folder=node_session.parent)
    )
    assert seen["ready"] and seen["model_ready"]
    assert seen["index"] == [{"name": endpoint, "version": "1", **READY}]
    assert seen["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert seen["y"] == [2, 4, 6, 8]
    assert seen["error"] == 5
    assert seen["stream"] == ["0", "1", "2", "3", "4"]


def test_grpc_go(server: InferenceServer, endpoint: str, descriptors: Path) -> None:
    seen = json.loads(run(tool("goclient"), "session", descriptors, endpoint, server.address))
    assert seen["ready"] == {"ready": True}
    assert seen["index"]["models"] == [{"name": endpoint, "version": "1", **READY}]
    assert seen["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "2"]}]
    doubled = b64encode(struct.pack("<2f", 2, 4)).decode()
    assert (seen["answer"]["id"], seen["answer"]["rawOutputContents"]) == ("mine", [doubled])
    assert (seen["error"], seen["details"]) == ("NotFound", 1)
    assert (seen["expired"], seen["cancelled"]) == ("DeadlineExceeded", "Canceled")
    answers = [answer["inferResponse"] for answer in seen["stream"]]
    assert [answer["id"] for answer in answers] == [str(number) for number in range(100)]
    assert {answer["rawOutputContents"][0] for answer in answers} == {doubled}


def test_grpc_go_goes_on_when_one_of_two_servers_stops(
    registry: Registry,
    server: InferenceServer,
    new_server: Callable[[Path], InferenceServer],
    endpoint: str,
    descriptors: Path,
    tmp_path: Path,
) -> None:
    other = new_server(tmp_path)
    other.start()
    registry.wait_for(endpoint, "models/doubler/versions/1", SERVING_STATE_READY, replica="second")
    command = [tool("goclient"), "load", str(descriptors), endpoint, server.address, other.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None and client.stdout is not None
        assert client.stdout.readline() == "running\n"
        before = answered(server)
        until(lambda: answered(other) > 100)
        assert other.stop() == 0
        after = answered(server)
        until(lambda: answered(server) > after + 100)
        client.stdin.close()
        seen = json.loads(client.stdout.read())
    assert before > 0
    assert seen["failures"] == {}
    assert seen["answers"] > 200


def test_ghz(server: InferenceServer, endpoint: str) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1, 2]}}
    request = json.dumps({"model_name": endpoint, "inputs": [tensor]})
    before = answered(server)
    method = "inference.GRPCInferenceService.ModelInfer"
    options = ["--insecure", "--total", "500", "--concurrency", "8", "--format", "json"]
    report = json.loads(run(tool("ghz"), *options, "--call", method, "--data", request, server.address))
    assert report["count"] == 500
    assert report["statusCodeDistribution"] == {"OK": 500}
    assert answered(server) - before == 500


def test_h2load(server: InferenceServer, endpoint: str, tmp_path: Path) -> None:
    h2load = shutil.which("h2load")
    if not h2load:
        pytest.skip("no h2load on this machine")
    request = grpc_service_pb2.ModelInferRequest(model_name=endpoint)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(bytes(8))
    message = request.SerializeToString()
    (tmp_path / "request").write_bytes(struct.pack(">BI", 0, len(message)) + message)
    before = answered(server)
    printed = run(
        *(h2load, "--requests", "2000", "--clients", "4", "--max-concurrent-streams", "16"),
        *("--header", "content-type: application/grpc", "--header", "te: trailers"),
        *("--data", tmp_path / "request"),
        f"http://{server.address}/inference.GRPCInferenceService/ModelInfer",
    )
    assert "2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout" in printed
    assert "status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx" in printed
    # It does not look at the status of a call; the server does.
    assert answered(server) - before == 2000


def answered(server: InferenceServer) -> int:
    """How many requests a server has answered."""
    with grpc.insecure_channel(server.address) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        [statistics] = stub.ModelStatistics(
            grpc_service_pb2.ModelStatisticsRequest(name="doubler")
        ).model_stats
    return statistics.inference_stats.success.count
