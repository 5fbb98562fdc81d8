"""Following the registry: versions that come, go and fail, and a registry that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2
from lepton.model.v1 import model_pb2

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

READY = endpoint_pb2.SERVING_STATE_READY
FAILED = endpoint_pb2.SERVING_STATE_FAILED
LOADING = endpoint_pb2.SERVING_STATE_LOADING

Models = dict[str, Callable[..., bytes]]
Ask = Callable[..., pb.ModelInferRequest]


@pytest.fixture(autouse=True)
def emptied(registry: Registry) -> Iterator[None]:
    """Endpoints of one test are not there for the next, and the registry is."""
    yield
    if not registry.is_running:
        registry.start()
    registry.clear()


@asynccontextmanager
async def client(server: InferenceServer) -> AsyncIterator[pb_grpc.GRPCInferenceServiceAsyncStub]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


def value(response: pb.ModelInferResponse) -> float:
    return float(np.frombuffer(response.raw_output_contents[0], np.float32)[0])


async def test_a_swap_under_load_fails_nothing(
    server: InferenceServer, registry: Registry, models: Models, ask: Ask
) -> None:
    old, new = (registry.publish("m", models["scaler"](n)) for n in (2, 3))
    registry.serve_and_wait("swap", {old: 1})
    answers: list[float] = []

    async def keep_asking(stub: pb_grpc.GRPCInferenceServiceAsyncStub) -> None:
        while answers.count(3) < 100:
            answers.append(value(await stub.ModelInfer(ask("swap", 1))))

    async with client(server) as stub, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(keep_asking(stub))
        while len(answers) < 100:
            await asyncio.sleep(0.01)
        registry.serve("swap", {new: 1})
    assert {*answers} == {2, 3}
    status = registry.wait_for("swap", new, READY)
    assert (status.provider, status.provider_share) == ("CPUExecutionProvider", 1)


@pytest.mark.parametrize(
    ("content", "signature", "reason"),
    [
        pytest.param(b"no model", None, "cannot load model.onnx", id="no model"),
        pytest.param(
            None,
            model_pb2.Signature(inputs=[model_pb2.TensorSignature(name="z", datatype="FP32")]),
            "the version is registered with z FP32",
            id="another signature",
        ),
    ],
)
async def test_a_version_that_fails_is_reported_and_leaves_the_old_one(
    server: InferenceServer,
    registry: Registry,
    models: Models,
    ask: Ask,
    content: bytes | None,
    signature: model_pb2.Signature | None,
    reason: str,
) -> None:
    good = registry.publish("m", models["scaler"](2))
    registry.serve_and_wait("careful", {good: 1})
    bad = registry.publish("m", content or models["scaler"](9), signature=signature)
    registry.serve("careful", {bad: 1})
    assert reason in registry.wait_for("careful", bad, FAILED).reason
    assert registry.state("careful", good).state == READY
    async with client(server) as stub:
        assert value(await stub.ModelInfer(ask("careful", 1))) == 2


async def test_damaged_bytes_are_not_served(
    server: InferenceServer, registry: Registry, models: Models
) -> None:
    version = registry.publish("m", models["scaler"](4.5))
    registry.objects.put(registry.versions[version].files[0].key, models["scaler"](6))
    registry.serve("damaged", {version: 1})
    assert "does not have the content" in registry.wait_for("damaged", version, FAILED).reason


async def test_an_endpoint_that_is_gone_is_not_found(
    server: InferenceServer, registry: Registry, models: Models, ask: Ask
) -> None:
    version = registry.publish("m", models["scaler"](2))
    registry.serve_and_wait("gone", {version: 1})
    registry.remove("gone")
    async with client(server) as stub:
        while (await stub.ModelReady(pb.ModelReadyRequest(name="gone"))).ready:
            await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ModelInfer(ask("gone", 1))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_weights_share_out_the_traffic_and_keys_stay(
    server: InferenceServer, registry: Registry, models: Models, ask: Ask
) -> None:
    old, new = (registry.publish("m", models["scaler"](n)) for n in (2, 3))
    registry.serve_and_wait("shared", {old: 3, new: 1})

    def keyed(key: str) -> pb.ModelInferRequest:
        request = ask("shared", 1)
        request.parameters["sequence_key"].string_param = key
        return request

    async with client(server) as stub:
        answers = [value(await stub.ModelInfer(ask("shared", 1))) for _ in range(200)]
        by_key = [[value(await stub.ModelInfer(keyed(f"user-{n}"))) for _ in range(5)] for n in range(40)]
    assert 0.1 < answers.count(3) / 200 < 0.45
    assert all(len({*answers}) == 1 for answers in by_key)
    assert {answers[0] for answers in by_key} == {2, 3}


async def test_serving_goes_on_without_the_registry_and_follows_when_it_is_back(
    server: InferenceServer, registry: Registry, models: Models, ask: Ask
) -> None:
    old, new = (registry.publish("m", models["scaler"](n)) for n in (2, 3))
    registry.serve_and_wait("alone", {old: 1})
    registry.kill()
    async with client(server) as stub:
        for _ in range(20):
            assert value(await stub.ModelInfer(ask("alone", 1))) == 2
            await asyncio.sleep(0.02)
        registry.start()
        registry.serve_and_wait("alone", {new: 1})
        assert value(await stub.ModelInfer(ask("alone", 1))) == 3


async def test_a_server_killed_and_started_without_registry_and_store_serves_what_it_knew(
    registry: Registry,
    models: Models,
    ask: Ask,
    tmp_path: Path,
    new_server: Callable[[Path], InferenceServer],
) -> None:
    version = registry.publish("m", models["scaler"](7))
    registry.serve("kept", {version: 1})
    server = new_server(tmp_path)
    server.start()
    registry.wait_for("kept", version, READY, replica="second")
    server.kill()
    registry.kill()
    registry.objects.delete_prefix("models")
    server.start()
    async with client(server) as stub:
        async with asyncio.timeout(20):
            while not (await stub.ServerReady(pb.ServerReadyRequest())).ready:
                await asyncio.sleep(0.02)
        assert value(await stub.ModelInfer(ask("kept", 1))) == 7
    assert server.stop() == 0


async def test_requests_in_flight_are_answered_when_the_server_stops(
    registry: Registry,
    models: Models,
    ask: Ask,
    tmp_path: Path,
    new_server: Callable[[Path], InferenceServer],
) -> None:
    version = registry.publish("m", models["scaler"](2))
    registry.serve("draining", {version: 1}, max_queue_delay_microseconds=500_000)
    server = new_server(tmp_path)
    server.start()
    registry.wait_for("draining", version, READY, replica="second")
    async with client(server) as stub:
        asked = [asyncio.ensure_future(stub.ModelInfer(ask("draining", n))) for n in range(5)]
        await asyncio.sleep(0.1)
        assert await asyncio.to_thread(server.stop) == 0
        assert [value(response) for response in await asyncio.gather(*asked)] == [0, 2, 4, 6, 8]
