"""How versions run as endpoints say it, and what memory they may take, on servers that are processes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil
import pytest

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

    Stub = pb_grpc.GRPCInferenceServiceAsyncStub

READY = endpoint_pb2.SERVING_STATE_READY
FAILED = endpoint_pb2.SERVING_STATE_FAILED

Models = dict[str, Callable[..., bytes]]
Ask = Callable[..., pb.ModelInferRequest]
NewServer = Callable[..., "InferenceServer"]


@pytest.fixture(autouse=True)
def emptied(registry: Registry) -> Iterator[None]:
    """Endpoints of one test are not there for the next."""
    yield
    registry.clear()


@asynccontextmanager
async def client(server: InferenceServer) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


def value(response: pb.ModelInferResponse) -> float:
    return float(np.frombuffer(response.raw_output_contents[0], np.float32)[0])


async def instances(stub: Stub, endpoint: str) -> int:
    config = (await stub.ModelConfig(pb.ModelConfigRequest(name=endpoint))).config
    return config.instance_group[0].count


async def test_an_endpoint_changes_how_it_runs_under_load(
    server: InferenceServer, registry: Registry, models: Models, ask: Ask
) -> None:
    version = registry.publish("m", models["scaler"](2))
    registry.serve_and_wait("run", {version: 1})
    answers: list[float] = []
    changed = asyncio.Event()

    async def keep_asking(stub: Stub) -> None:
        while not changed.is_set():
            answers.append(value(await stub.ModelInfer(ask("run", 1))))

    async with client(server) as stub, asyncio.timeout(60), asyncio.TaskGroup() as group:
        assert await instances(stub, "run") == 1
        for _ in range(8):
            group.create_task(keep_asking(stub))
        while len(answers) < 100:
            await asyncio.sleep(0.01)
        execution = endpoint_pb2.Execution(instances=3, threads=1, warm_up_runs=2)
        registry.serve("run", {version: 1}, execution=execution)
        while await instances(stub, "run") != 3:
            await asyncio.sleep(0.01)
        changed.set()
    assert {*answers} == {2}
    assert registry.state("run", version).state == READY


async def test_a_gpu_that_is_asked_for_and_not_there_is_not_claimed(
    server: InferenceServer, registry: Registry, models: Models
) -> None:
    version = registry.publish("m", models["scaler"](2))
    execution = endpoint_pb2.Execution(provider=endpoint_pb2.PROVIDER_CUDA)
    registry.serve("hopeful", {version: 1}, execution=execution)
    status = registry.wait_for("hopeful", version, READY)
    assert (status.provider, status.provider_share) == ("CPUExecutionProvider", 1)


async def test_a_server_that_requires_a_gpu_is_not_ready_without_one(
    registry: Registry, models: Models, tmp_path: Path, new_server: NewServer
) -> None:
    version = registry.publish("m", models["scaler"](2))
    registry.serve("strict", {version: 1})
    server = new_server(tmp_path, DEVICE="cuda", REQUIRE_GPU="true")
    server.start()
    status = registry.wait_for("strict", version, FAILED, replica="second")
    assert status.reason == "a GPU is required and the model would run on CPUExecutionProvider"
    async with client(server) as stub:
        assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live


async def test_a_model_that_does_not_fit_is_refused_and_its_neighbours_go_on(
    registry: Registry, models: Models, ask: Ask, tmp_path: Path, new_server: NewServer
) -> None:
    small = registry.publish("m", models["scaler"](2))
    # 16 MB of weights each.
    large = [registry.publish("large", models["mlp"](4096, 1000 + number, 10)) for number in range(2)]
    registry.serve("small", {small: 1}, max_batch_size=1)
    registry.serve("first", {large[0]: 1}, max_batch_size=1)
    server = new_server(tmp_path, MODEL_MEMORY_BYTES=str(30_000_000))
    server.start()
    for endpoint, version in (("small", small), ("first", large[0])):
        registry.wait_for(endpoint, version, READY, replica="second")
    registry.serve("second", {large[1]: 1}, max_batch_size=1)
    reason = registry.wait_for("second", large[1], FAILED, replica="second").reason
    assert re.match(r"models/large/versions/2 needs [\d.]+ MB of memory; [\d.]+ MB of the 30\.0 MB", reason)
    assert server.process is not None
    memory = psutil.Process(server.process.pid).memory_info
    full = memory().rss
    async with client(server) as stub:
        for endpoint in ("small", "first"):
            assert (await stub.ModelReady(pb.ModelReadyRequest(name=endpoint))).ready
        assert value(await stub.ModelInfer(ask("small", 1))) == 2
        # Its room is the other's as soon as it goes.
        registry.remove("first")
        registry.wait_for("second", large[1], READY, replica="second")
        assert memory().rss < full + 8_000_000
        registry.remove("second")
        async with asyncio.timeout(60):
            while memory().rss > full - 12_000_000:
                await asyncio.sleep(0.05)
        assert value(await stub.ModelInfer(ask("small", 1))) == 2
