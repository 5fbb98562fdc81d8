"""What the server needs at rest, and what it tells of itself at work."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry


def test_a_server_at_rest_is_small_and_starts_fast(
    new_server: Callable[[Path], InferenceServer], tmp_path: Path
) -> None:
    server = new_server(tmp_path)
    server.start()
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    times = process.cpu_times()
    # The work of starting up, whatever else this machine does at the moment.
    assert times.user + times.system <= 3
    assert process.memory_info().rss <= 200 << 20


async def test_a_server_at_work_counts_what_it_does(
    new_server: Callable[..., InferenceServer],
    registry: Registry,
    models: dict[str, Callable[..., bytes]],
    ask: Callable[..., pb.ModelInferRequest],
    tmp_path: Path,
) -> None:
    version = registry.publish("m", models["scaler"](2))
    registry.serve("counted", {version: 1})
    registry.serve("kept", {version: 1}, response_cache_bytes=100_000)
    server = new_server(tmp_path, METRICS_LISTEN="127.0.0.1:0")
    server.start()
    for endpoint in ("counted", "kept"):
        registry.wait_for(endpoint, version, endpoint_pb2.SERVING_STATE_READY, replica="second")
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub: pb_grpc.GRPCInferenceServiceAsyncStub = pb_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(3):
            await stub.ModelInfer(ask("counted", 1, 2))
            await stub.ModelInfer(ask("kept", 1, 2))
    lines = map(json.loads, server.log.read_text().splitlines())
    facts = next(line for line in lines if line["message"] == "serving")
    with urllib.request.urlopen(f"http://{facts['metrics_address']}/metrics") as page:
        metrics = page.read().decode()
    labels = 'endpoint="counted",version="1"'
    with_provider = 'endpoint="counted",provider="CPUExecutionProvider",version="1"'
    assert f"lepton_inference_records_total{{{labels}}} 6.0" in metrics
    assert f"lepton_inference_queue_requests{{{labels}}} 0.0" in metrics
    assert f"lepton_inference_ready{{{with_provider}}} 1.0" in metrics
    assert 'lepton_inference_cache_hits_total{endpoint="kept",version="1"} 2.0' in metrics
    assert 'lepton_inference_cache_misses_total{endpoint="kept",version="1"} 1.0' in metrics
    assert f"lepton_inference_cache_bytes{{{labels}}} 0.0" in metrics
    assert f"lepton_inference_provider_share{{{with_provider}}} 1.0" in metrics
    (size,) = re.findall(rf"lepton_inference_model_memory_bytes{{{labels}}} (\S+)", metrics)
    assert float(size) >= len(models["scaler"](2))
