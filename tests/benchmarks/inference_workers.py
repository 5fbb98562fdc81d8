"""What the processes that take connections cost the inference service, and what they take off its own.

    make bench-inference_workers

The service runs with 0, 1 and 2 of them (`LEPTON_WORKERS`), with one thread for models. All its processes are
on one core, so that their CPU times compare, and the load is on another. CPU time is told for all of them
together and for the process that has the models alone: with cores enough, the latter is what bounds the rate.
Of several rounds the median counts.

Prints a table and writes `build/bench/inference_workers.json` as records `name, value, unit, bar, holds`.
"""

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from serving.clients import CLIENTS
from serving.models import MODELS
from serving.processes import Server
from serving.services import run_inference, run_registry

WORKERS = (0, 1, 2)
LOADS = (("mlp", "h2load", 16), ("mlp", "grpc.aio", 16), ("large", "h2load", 8))
SECONDS = 2.0


class Cost(NamedTuple):
    """What a load came to."""

    all_us: float
    """CPU microseconds a request, of all processes."""
    own_us: float
    """The same of the process that has the models."""
    rate: float
    """Requests a second."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure what processes for connections cost.")
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    costs: dict[tuple[str, int], list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        models = [MODELS[model] for model in {load[0]: None for load in LOADS}]
        registry = stack.enter_context(run_registry(folder / "registry"))
        for model in models:
            registry.publish(model, model.build(model))
        servers = {}
        for workers in WORKERS:
            service = run_inference(
                f"{workers} workers",
                folder / f"workers-{workers}",
                registry=registry,
                models=models,
                settings={"WORKERS": str(workers)},
            )
            servers[workers] = stack.enter_context(service)
        for _ in range(rounds):
            for load in LOADS:
                for workers, server in servers.items():
                    costs[_name(*load), workers].append(measure(server, *load))
    records: list[dict[str, Any]] = []
    for (load_name, workers), measured in costs.items():
        cost = Cost(*map(statistics.median, zip(*measured, strict=True)))
        label = f"{load_name}, {workers} workers"
        print(f"{label:<40}{cost.all_us:8.1f} us, {cost.own_us:8.1f} us of its own {cost.rate:9.0f}/s")
        for what, value, unit in (
            ("CPU", cost.all_us, "us"),
            ("CPU of the process with the models", cost.own_us, "us"),
            ("rate", cost.rate, "1/s"),
        ):
            record = {"name": f"{label}: {what}", "value": value, "unit": unit}
            records.append(record | {"bar": None, "holds": True})
    target = Path("build/bench/inference_workers.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def _name(model: str, client: str, in_flight: int) -> str:
    return f"{model}, {client}, {in_flight} in flight"


def measure(server: Server, model: str, client: str, in_flight: int) -> Cost:
    """Measures a load once, when the server is warm for it."""
    with CLIENTS[client](server, MODELS[model], in_flight) as send:
        requests = max(int(send(20 * in_flight).rate * SECONDS), in_flight)
        whole, own = server.cpu_seconds(), sum(server.process.cpu_times()[:2])
        served = send(requests)
        whole, own = server.cpu_seconds() - whole, sum(server.process.cpu_times()[:2]) - own
    return Cost(whole / requests * 1e6, own / requests * 1e6, served.rate)


if __name__ == "__main__":
    main()
