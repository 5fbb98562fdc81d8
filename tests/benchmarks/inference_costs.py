"""What a request costs the inference service, beside its peers and ONNX Runtime alone.

    make bench-inference [ROUNDS=1] [ONLY=mlp] [DEVICE=cuda]

All servers are on one core, with one thread for models; the service is there twice, once on each of its
transports. The load comes from another core: h2load's, whose requests are all the same, or an ordinary
grpc.aio client's, each of whose requests has an id, a deadline and a header of its own. First every server
must answer what ONNX Runtime answers. Then the servers take turns under each load; of several rounds the
median counts. CPU time is what the operating system counted for a server and its children, system calls
included. ONNX Runtime alone runs on the servers' core, on batches of as many records as are in flight.

On CUDA, for which the environment needs `onnxruntime-gpu` and its libraries in place of `onnxruntime`, there
are other loads and no peers: theirs is the runtime of the CPU.

Prints tables and writes `build/bench/inference.json`, on CUDA `inference-cuda.json`, as records `name, value,
unit, bar, holds`.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from serving.alone import PROVIDERS, Session, measure_alone
from serving.answers import check_answers
from serving.clients import CLIENTS, Unanswered
from serving.figures import ALONE, OURS, Load, Run, bars, tables, tell
from serving.models import MODELS, Model
from serving.peers import PEERS, is_installed
from serving.processes import Server
from serving.services import run_inference, run_registry

PEER_BARS = (("tritonserver", 2.0), ("MLServer", 20.0))
LOADS = (
    Load("mlp", "h2load", 1),
    Load("mlp", "h2load", 16, cost_bar=15.0, peer_bars=PEER_BARS),
    Load("mlp", "h2load", 64),
    Load("mlp", "grpc.aio", 1),
    Load("mlp", "grpc.aio", 16, cost_bar=35.0),
    Load("mlp", "grpc.aio", 64),
    Load("cnn", "h2load", 1),
    Load("cnn", "h2load", 16),
    Load("cnn", "h2load", 64, share_bar=0.85),
    Load("cnn", "grpc.aio", 1),
    Load("cnn", "grpc.aio", 16),
    Load("cnn", "grpc.aio", 64),
    Load("resnet", "h2load", 1, share_bar=0.95),
    Load("resnet", "grpc.aio", 1),
    Load("large", "h2load", 8, gigabytes_bar=1.5),
    Load("large", "grpc.aio", 8),
)
CUDA_LOADS = (
    Load("mlp", "h2load", 1),
    Load("mlp", "h2load", 64),
    Load("mlp", "grpc.aio", 64),
    Load("cnn", "h2load", 1),
    Load("cnn", "h2load", 64),
    Load("resnet", "h2load", 1),
    Load("resnet", "h2load", 8),
    Load("resnet", "h2load", 16),
    Load("resnet", "grpc.aio", 3),
    Load("large", "h2load", 8),
)
TRANSPORTS = {OURS: "http2", f"{OURS}, grpc.aio": "grpc"}
WARM_SECONDS, SECONDS = 0.5, 2.0
"""For how long a load warms a server up, and for how long it is measured."""
TRIES = 3
"""How often a load is tried on a peer."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure what a request costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=MODELS, help="one model alone")
    parser.add_argument("--device", choices=PROVIDERS, default="cpu", help="what runs the models")
    arguments = parser.parse_args()
    if not shutil.which("h2load"):
        sys.exit("h2load is missing: it comes with the package nghttp2-client.")
    every_load: Sequence[Load] = CUDA_LOADS if arguments.device == "cuda" else LOADS
    loads = [load for load in every_load if arguments.only in (None, load.model)]
    measured = measure(loads, arguments.rounds, arguments.device)
    records: list[dict[str, Any]] = []
    for load, runs in measured.items():
        records += tell(load, runs)
    print(*tables(measured), *bars(records), sep="\n")
    suffix = "" if arguments.device == "cpu" else f"-{arguments.device}"
    target = Path(f"build/bench/inference{suffix}.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def measure(loads: Sequence[Load], rounds: int, device: str) -> dict[Load, dict[str, list[Run]]]:
    """The runs of every load: by server, one for each round."""
    models = [MODELS[name] for name in dict.fromkeys(load.model for load in loads)]
    measured: dict[Load, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {model.name: Path(folder) / f"{model.name}.onnx" for model in models}
        for model in models:
            files[model.name].write_bytes(model.build(model))
        with all_servers(Path(folder), files, device) as servers:
            for load in loads:
                model = MODELS[load.model]
                runs = measured[load] = defaultdict(list)
                for number in range(1, rounds + 1):
                    print(f"round {number}, {load.name}:", end="", flush=True)
                    for server in servers:
                        runs[server.name].append(run_load(load, server, model))
                        print(f" {server.name} {runs[server.name][-1].cpu_us:.1f} us", end=";", flush=True)
                    alone = Run(*measure_alone(files[model.name], model, load.in_flight, device))
                    runs[ALONE].append(alone)
                    print(f" {ALONE} {alone.cpu_us:.1f} us", flush=True)
    return measured


@contextmanager
def all_servers(folder: Path, files: dict[str, Path], device: str) -> Iterator[list[Server]]:
    """The service on each of its transports and the peers that are installed, with these models."""
    models = [MODELS[name] for name in files]
    sessions = {model.name: Session(files[model.name], device) for model in models}
    servers: list[Server] = []
    with ExitStack() as stack:

        def add(server: Server) -> None:
            for model in models:
                check_answers(server, model, sessions[model.name], device)
            megabytes = server.memory_bytes() / 1e6
            print(f"{server.name} runs and answers right, with {megabytes:.0f} MB", flush=True)
            servers.append(server)

        registry = stack.enter_context(run_registry(folder / "registry"))
        for model in models:
            registry.publish(model, files[model.name].read_bytes())
        for name, transport in TRANSPORTS.items():
            service = run_inference(
                name,
                folder / transport,
                registry=registry,
                models=models,
                settings={"TRANSPORT": transport, "DEVICE": device, "REQUIRE_GPU": str(device != "cpu")},
            )
            add(stack.enter_context(service))
        for name, run in PEERS.items() if device == "cpu" else ():
            if is_installed(name):
                add(stack.enter_context(run(folder / name, files)))
            else:
                print(f"{name} is not installed, and is left out", flush=True)
        yield servers


def run_load(load: Load, server: Server, model: Model) -> Run:
    """Measures a load once. A peer that fails a request is told of and tried again; ours may not fail."""
    for _ in range(TRIES - 1):
        try:
            return run_load_once(load, server, model)
        except Unanswered as error:
            if server.name in TRANSPORTS:
                raise
            print(f" {server.name} FAILED ({error}), once more;", end="", flush=True)
    return run_load_once(load, server, model)


def run_load_once(load: Load, server: Server, model: Model) -> Run:
    """Measures a load once, when the server is warm for it."""
    with CLIENTS[load.client](server, model, load.in_flight) as client:
        served = client(2 * load.in_flight)
        for seconds in (WARM_SECONDS, SECONDS):
            requests = max(int(served.rate * seconds), load.in_flight)
            before = server.cpu_seconds()
            served = client(requests)
            used = server.cpu_seconds() - before
    p50, p99 = np.percentile(served.latencies, (50, 99)) * 1e3
    return Run(used / requests * 1e6, served.rate, float(p50), float(p99))


if __name__ == "__main__":
    main()
