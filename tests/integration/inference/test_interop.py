"""Clients that know nothing of Lepton: each lists, loads, describes and infers, with no special case."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inference import grpc_service_pb2, model_config_pb2

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

ROOT = Path(__file__).parents[3]
PROGRAMS = Path(__file__).parent / "interop"
DOUBLED = [[2, 4], [6, 8]]


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """What a program prints; its failure is the test's."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tritonclient_python() -> str:
    """The interpreter of the environment that holds the published client."""
    path = os.environ.get("LEPTON_TRITONCLIENT_PYTHON", str(ROOT / ".venv-tritonclient/bin/python"))
    assert Path(path).exists(), f"{path} is not there: run `make setup .venv-tritonclient/stamp`"
    return path


@pytest.fixture(scope="module")
def grpcurl() -> str:
    """The program that calls any server which offers reflection."""
    built = ROOT / "build/tools/grpcurl"
    found = str(built) if built.exists() else shutil.which("grpcurl")
    if not found:
        pytest.skip("no grpcurl: `make build/tools/stamp` builds it where Go is installed")
    return found


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
    assert ours == published
    assert len(ours) > 500


def test_tritonclient(tritonclient_python: str, server: InferenceServer, endpoint: str) -> None:
    seen = json.loads(
        run(tritonclient_python, PROGRAMS / "tritonclient_session.py", server.address, endpoint)
    )
    assert seen["live"] and seen["ready"]
    assert seen["server"] == "lepton-inference"
    assert seen["index"] == [{"name": "doubler", "version": "1", "state": "READY"}]
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
    described = run(grpcurl, "-plaintext", server.address, "describe", "inference.GRPCInferenceService")
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
    assert seen["index"] == [{"name": endpoint, "version": "1", "state": "READY"}]
    assert seen["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert seen["y"] == [2, 4, 6, 8]
    assert seen["error"] == 5
    assert seen["stream"] == ["0", "1", "2", "3", "4"]
