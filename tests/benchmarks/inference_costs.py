"""What a request costs the inference service, on each of its transports, beside ONNX Runtime alone.

    make bench-inference

The service is a process on one core, with one thread for models; a registry tells it what to serve. The load
comes from the other core: h2load's (Debian's nghttp2-client), whose requests are all the same, or an ordinary
grpc.aio client's, each of whose requests has an id and a deadline of its own. CPU time is what the operating
system counted for the service, system calls included. The transports take turns; of several rounds the median
counts. ONNX Runtime alone runs on the service's core, on batches of as many records as were in flight.

Prints a table and writes `build/bench/inference.json` as records `name, value, unit, bar, holds`.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2, endpoint_pb2_grpc
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore

SERVER_CORE, LOAD_CORE = 0, 1
TRANSPORTS = ("http2", "grpc")
INFER = "/inference.GRPCInferenceService/ModelInfer"
MOST_BATCHED = 64
READY_SECONDS = 60
SHAPES = {"mlp": (784,), "cnn": (1, 28, 28), "large": (3, 224, 224)}


@dataclass(frozen=True)
class Load:
    """Requests of one kind."""

    model: str
    client: str
    in_flight: int
    requests: int
    cost_bar: float | None = None
    """The most CPU microseconds a request may cost on the service's own transport."""
    share_bar: float | None = None
    """What share of the rate of ONNX Runtime alone is asked of it, at least."""
    bytes_bar: float | None = None
    """How many gigabytes of tensors a second are asked of it, at least."""

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return f"{self.model}, {self.client}, {self.in_flight} in flight"


LOADS = (
    Load("mlp", "h2load", 1, 4_000),
    Load("mlp", "h2load", 16, 30_000, cost_bar=15.0),
    Load("mlp", "h2load", 64, 30_000),
    Load("mlp", "grpc.aio client", 16, 6_000, cost_bar=35.0),
    Load("cnn", "h2load", 64, 10_000, share_bar=0.85),
    Load("large", "h2load", 8, 1_000, bytes_bar=1.5),
)


@dataclass(frozen=True)
class Run:
    """What one run of a load came to."""

    cpu_us: float
    rate: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Measure, print, write; or be the client, or ONNX Runtime alone."""
    parser = argparse.ArgumentParser(description="Measure what a request costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--call", nargs=4, metavar=("ADDRESS", "MODEL", "REQUESTS", "IN_FLIGHT"))
    parser.add_argument("--alone", nargs=3, metavar=("FILE", "MODEL", "RECORDS"))
    arguments = parser.parse_args()
    if arguments.call:
        address, model, requests, in_flight = arguments.call
        asyncio.run(call_aio(address, model, int(requests), int(in_flight)))
    elif arguments.alone:
        file, model, records = arguments.alone
        print(rate_alone(Path(file), model, int(records)))
    else:
        measure(arguments.rounds)


def measure(rounds: int) -> None:
    """Measure all loads on both transports."""
    if not shutil.which("h2load"):
        sys.exit("h2load is missing: it comes with the package nghttp2-client.")
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, _services(Path(name)) as (files, servers):
        for load in LOADS:
            runs: dict[str, list[Run]] = {transport: [] for transport in TRANSPORTS}
            alone: list[float] = []
            for _ in range(rounds):
                for transport in TRANSPORTS:
                    runs[transport].append(measure_once(load, *servers[transport]))
                alone.append(_alone(files[load.model], load))
            found = list(tell(load, runs, statistics.median(alone)))
            for record in found:
                told = "" if record["bar"] is None else f"bar {record['bar']:g}, holds: {record['holds']}"
                print(f"{record['name']:<72}{record['value']:>10.3g} {record['unit']:<7}{told}", flush=True)
            records += found
    target = Path("build/bench/inference.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def tell(load: Load, runs: dict[str, list[Run]], alone: float) -> Iterator[dict[str, Any]]:
    """The records of one load."""

    def median(transport: str, figure: str) -> float:
        return float(statistics.median(getattr(run, figure) for run in runs[transport]))

    def record(
        name: str, value: float, unit: str, bar: float | None, *, most: bool = False
    ) -> dict[str, Any]:
        holds = bar is None or (value <= bar if most else value >= bar)
        return {"name": f"{load.name}: {name}", "value": value, "unit": unit, "bar": bar, "holds": holds}

    for transport in TRANSPORTS:
        ours = transport == TRANSPORTS[0]
        rate = median(transport, "rate")
        bar = load.cost_bar if ours else None
        yield record(f"CPU, {transport}", median(transport, "cpu_us"), "us", bar, most=True)
        yield record(f"rate, {transport}", rate, "1/s", None)
        yield record(f"p50, {transport}", median(transport, "p50_ms"), "ms", None)
        yield record(f"p99, {transport}", median(transport, "p99_ms"), "ms", None)
        yield record(
            f"of ONNX Runtime alone, {transport}", rate / alone, "", load.share_bar if ours else None
        )
        gigabytes = rate * len(example(load.model).raw_input_contents[0]) / 1e9
        yield record(f"tensors, {transport}", gigabytes, "GB/s", load.bytes_bar if ours else None)
    yield record("ONNX Runtime alone", alone, "1/s", None)
    cost, theirs = (median(transport, "cpu_us") for transport in TRANSPORTS)
    yield record("CPU, grpc / http2", theirs / cost, "times", None)


def measure_once(load: Load, process: psutil.Process, address: str) -> Run:
    """Runs a load once, when the server is warm for it."""
    run_load(load, address, max(load.requests // 10, 100))
    before, began = process.cpu_times(), time.monotonic()
    latencies, seconds = run_load(load, address, load.requests)
    after = process.cpu_times()
    seconds = seconds or time.monotonic() - began
    cpu = after.user + after.system - before.user - before.system
    p50, p99 = np.percentile(latencies, (50, 99))
    return Run(cpu / load.requests * 1e6, load.requests / seconds, float(p50), float(p99))


def run_load(load: Load, address: str, requests: int) -> tuple[list[float], float]:
    """Sends requests; gives the milliseconds that each took, and the seconds for all of them."""
    if load.client == "h2load":
        return run_h2load(load, address, requests)
    arguments = map(str, (address, load.model, requests, load.in_flight))
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-P", __file__, "--call", *arguments]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    latencies, seconds = json.loads(told)
    return latencies, seconds


def run_h2load(load: Load, address: str, requests: int) -> tuple[list[float], float]:
    """Sends requests that are all the same."""
    with tempfile.TemporaryDirectory() as name:
        message, log = Path(name) / "message", Path(name) / "log"
        body = example(load.model).SerializeToString()
        message.write_bytes(b"\0" + len(body).to_bytes(4) + body)
        done = subprocess.run(
            [
                *("taskset", "-c", str(LOAD_CORE), "h2load", f"--requests={requests}"),
                *("--clients=1", f"--max-concurrent-streams={load.in_flight}", f"--data={message}"),
                # Windows of 1 GiB.
                *("--window-bits=30", "--connection-window-bits=30", f"--log-file={log}"),
                *("--header=content-type: application/grpc", "--header=te: trailers"),
                f"http://{address}{INFER}",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        latencies = [int(line.split("\t")[2]) / 1e3 for line in log.read_text().splitlines()]
    succeeded = re.search(r"(\d+) succeeded", done.stdout)
    assert succeeded is not None and int(succeeded[1]) == requests, done.stdout
    # Every answer has a message, so it was OK.
    received = re.search(r"\((\d+)\) data", done.stdout)
    assert received is not None and int(received[1]) >= requests * 100, done.stdout
    finished = re.search(r"finished in ([0-9.]+)(us|ms|s)", done.stdout)
    assert finished is not None, done.stdout
    return latencies, float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[finished[2]]


async def call_aio(address: str, model: str, requests: int, in_flight: int) -> None:
    """Be an ordinary client: each request has an id and a deadline of its own."""
    request = example(model)
    latencies: list[float] = []

    async def work() -> None:
        mine = pb.ModelInferRequest()
        mine.CopyFrom(request)
        for _ in range(requests // in_flight):
            mine.id = str(uuid.uuid4())
            began = time.perf_counter()
            response = await stub.ModelInfer(
                mine, timeout=30 + began % 1, metadata=[("x-request-id", mine.id)]
            )
            latencies.append((time.perf_counter() - began) * 1e3)
            assert response.id == mine.id

    async with grpc.aio.insecure_channel(address) as channel:
        stub: pb_grpc.GRPCInferenceServiceAsyncStub = pb_grpc.GRPCInferenceServiceStub(channel)
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        print(json.dumps([latencies, time.perf_counter() - began]))


def example(model: str) -> pb.ModelInferRequest:
    """A request of one record for a model."""
    shape = (1, *SHAPES[model])
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return pb.ModelInferRequest(
        model_name=model,
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=shape)],
        raw_input_contents=[array.tobytes()],
    )


def _alone(file: Path, load: Load) -> float:
    arguments = map(str, (file, load.model, load.in_flight))
    command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-P", __file__, "--alone", *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rate_alone(file: Path, model: str, records: int) -> float:
    """Be ONNX Runtime alone: the records a second on batches of this size."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(0).normal(size=(records, *SHAPES[model])).astype(np.float32)
    for _ in range(3):
        session.run(None, {"x": batch})
    began, runs = time.perf_counter(), 0
    while time.perf_counter() - began < 1:
        session.run(None, {"x": batch})
        runs += 1
    return runs * records / (time.perf_counter() - began)


@contextmanager
def _services(
    folder: Path,
) -> Iterator[tuple[dict[str, Path], dict[str, tuple[psutil.Process, str]]]]:
    """A registry and a server for each transport, with all models; the files, and where the servers are."""
    store = ObjectStore(f"file://{folder}/objects")
    common = {"OBJECT_STORE_URL": store.url}
    started: list[subprocess.Popen[bytes]] = []
    try:
        process, registry = _start(
            "lepton_registry", folder / "registry", DATABASE_URL=f"sqlite:///{folder}/records.db", **common
        )
        started.append(process)
        files = _publish(registry, store, folder)
        servers: dict[str, tuple[psutil.Process, str]] = {}
        for transport in TRANSPORTS:
            process, address = _start(
                "lepton_inference",
                folder / transport,
                REGISTRY_ADDRESS=registry,
                RUN_DIRECTORY=str(folder / transport / "run"),
                REPLICA=transport,
                TRANSPORT=transport,
                THREADS="1",
                # A connection stays for as long as it is measured.
                MAX_CONNECTION_AGE_SECONDS="0",
                **common,
            )
            started.append(process)
            _wait_for_models(address)
            servers[transport] = (psutil.Process(process.pid), address)
        yield files, servers
    finally:
        for process in started:
            process.terminate()
            process.wait(30)


def _start(module: str, folder: Path, **settings: str) -> tuple["subprocess.Popen[bytes]", str]:
    folder.mkdir()
    address = folder / "address"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", module],
            env=os.environ
            | {"LEPTON_LISTEN": "127.0.0.1:0", "LEPTON_ADDRESS_FILE": str(address)}
            | {f"LEPTON_{name}": value for name, value in settings.items()},
            stdout=log,
            stderr=log,
        )
    while not address.exists():
        if process.poll() is not None:
            sys.exit((folder / "log").read_text())
        time.sleep(0.05)
    return process, address.read_text()


def _publish(registry: str, store: ObjectStore, folder: Path) -> dict[str, Path]:
    """Registers every model with an endpoint of its name; gives their files."""
    files: dict[str, Path] = {}
    with grpc.insecure_channel(registry) as channel:
        models = model_pb2_grpc.ModelServiceStub(channel)
        endpoints = endpoint_pb2_grpc.EndpointServiceStub(channel)
        for name, content in (("mlp", mlp()), ("cnn", cnn()), ("large", large())):
            files[name] = folder / f"{name}.onnx"
            files[name].write_bytes(content)
            blob = put_blob(store, "models", content)
            file = model_pb2.ArtifactFile(
                path="model.onnx", sha256=blob.sha256, size_bytes=blob.size_bytes, key=blob.key
            )
            version = model_pb2.ModelVersion(format=model_pb2.MODEL_FORMAT_ONNX, files=[file])
            models.CreateModelVersion(
                model_pb2.CreateModelVersionRequest(parent=f"models/{name}", model_version=version)
            )
            target = endpoint_pb2.TrafficTarget(model_version=f"models/{name}/versions/1", weight=1)
            batching = endpoint_pb2.Batching(max_batch_size=MOST_BATCHED)
            endpoint = endpoint_pb2.Endpoint(targets=[target], batching=batching)
            endpoints.CreateEndpoint(endpoint_pb2.CreateEndpointRequest(endpoint_id=name, endpoint=endpoint))
    return files


def _wait_for_models(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with suppress(grpc.RpcError):
                if all(stub.ModelReady(pb.ModelReadyRequest(name=name)).ready for name in SHAPES):
                    return
            time.sleep(0.1)
    sys.exit("the server did not load its models in time")


# The models, with weights of no meaning.


def mlp() -> bytes:
    """784 numbers, a hidden layer of 128, 10 classes."""
    return _graph(
        "mlp",
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["z"]),
            helper.make_node("Relu", ["z"], ["h"]),
            helper.make_node("Gemm", ["h", "w2", "b2"], ["y"]),
        ],
        {"w1": (784, 128), "b1": (128,), "w2": (128, 10), "b2": (10,)},
    )


def cnn() -> bytes:
    """Images of 28x28, two convolutions with pooling, 10 classes."""
    pooling: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    return _graph(
        "cnn",
        [
            helper.make_node("Conv", ["x", "k1", "c1"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MaxPool", ["b"], ["c"], **pooling),
            helper.make_node("Conv", ["c", "k2", "c2"], ["d"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["d"], ["e"]),
            helper.make_node("MaxPool", ["e"], ["f"], **pooling),
            helper.make_node("Flatten", ["f"], ["g"]),
            helper.make_node("Gemm", ["g", "w", "v"], ["y"]),
        ],
        {"k1": (32, 1, 3, 3), "c1": (32,), "k2": (64, 32, 3, 3), "c2": (64,), "w": (3136, 10), "v": (10,)},
    )


def large() -> bytes:
    """Images of 3x224x224, 602,112 bytes, of which little is computed: the mean of each channel's corner."""
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axes"], ["corner"]),
        helper.make_node("GlobalAveragePool", ["corner"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["y"]),
    ]
    constants = {"from": np.array([0, 0]), "to": np.array([8, 8]), "axes": np.array([2, 3])}
    return _model("large", nodes, constants, classes=3)


def _graph(name: str, nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]]) -> bytes:
    rng = np.random.default_rng(0)
    arrays = {key: (0.1 * rng.normal(size=shape)).astype(np.float32) for key, shape in weights.items()}
    return _model(name, nodes, arrays, classes=10)


def _model(name: str, nodes: list[onnx.NodeProto], constants: dict[str, Any], *, classes: int) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPES[name]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


if __name__ == "__main__":
    main()
