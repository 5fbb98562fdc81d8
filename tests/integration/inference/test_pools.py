"""Inference servers in pools, and their clients: who serves what, and restarts that nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.errors import NotFound
from lepton_sdk.addresses import Addresses
from lepton_sdk.client import Client

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

READY = endpoint_pb2.SERVING_STATE_READY
Models = dict[str, Callable[..., bytes]]
X = np.array([[1, 2]], np.float32)


@pytest.fixture(autouse=True)
def emptied(registry: Registry) -> Iterator[None]:
    """Endpoints of one test are not there for the next."""
    yield
    registry.clear()


@asynccontextmanager
async def client(registry: Registry, inference: str) -> AsyncIterator[Client]:
    """A client of the registry and of inference servers; the other services are not there."""
    everywhere = dict.fromkeys((field.name for field in fields(Addresses)), "127.0.0.1:1")
    places = everywhere | {"registry": registry.address, "inference": inference}
    async with Client(Addresses(**places)) as made:
        yield made


async def test_an_endpoint_is_served_by_its_pool_and_found_there(
    server: InferenceServer,
    registry: Registry,
    models: Models,
    new_server: Callable[..., InferenceServer],
    tmp_path: Path,
) -> None:
    large = new_server(tmp_path, POOL="large")
    large.start()
    # Where clients reach it is known in a cluster before it is started, here by now.
    large.change(LISTEN=large.address, POOL_ADDRESS=large.address)
    large.stop()
    large.start()
    version = registry.publish("m", models["scaler"](3))
    async with client(registry, server.address) as lepton:
        await lepton.endpoints.create("here", {version: 1})
        await lepton.endpoints.create("there", {version: 1}, pool="large")
        await lepton.endpoints.wait_ready("endpoints/here")
        found = await lepton.endpoints.wait_ready("endpoints/there")
        assert {status.replica for status in found.serving} == {"second"}

        for endpoint in ("here", "there"):
            answer = await lepton.inference.predict(endpoint, {"x": X})
            assert answer.outputs["y"].tolist() == [[3, 6]]
        with pytest.raises(NotFound):
            await lepton.inference.predict("nowhere", {"x": X})

        pools = {pool.name: pool for pool in await lepton.endpoints.pools()}
    assert {*pools} == {"default", "large"}
    [replica] = pools["large"].replicas
    assert (replica.device, [*replica.providers]) == ("cpu", ["CPUExecutionProvider"])


async def test_servers_that_are_restarted_in_turn_fail_no_request(
    server: InferenceServer,
    registry: Registry,
    models: Models,
    new_server: Callable[..., InferenceServer],
    tmp_path: Path,
) -> None:
    version = registry.publish("m", models["scaler"](3))
    registry.serve_and_wait("rolled", {version: 1})
    second = new_server(tmp_path)
    second.start()
    registry.wait_for("rolled", version, READY, replica="second")
    both = f"ipv4:{server.address},{second.address}"
    answered = 0

    async def keep_asking(lepton: Client) -> None:
        nonlocal answered
        while True:
            answer = await lepton.inference.predict("rolled", {"x": X})
            assert answer.outputs["y"].tolist() == [[3, 6]]
            answered += 1

    async def more(count: int) -> None:
        wanted = answered + count
        async with asyncio.timeout(60):
            while answered < wanted:
                await asyncio.sleep(0.02)

    async with client(registry, both) as lepton, asyncio.TaskGroup() as group:
        callers = [group.create_task(keep_asking(lepton)) for _ in range(4)]
        for each in (server, second):
            await more(100)
            each.change(LISTEN=each.address)
            assert await asyncio.to_thread(each.stop) == 0
            await more(100)
            await asyncio.to_thread(each.start)
        await more(100)
        for caller in callers:
            caller.cancel()


async def test_a_server_is_ready_when_it_has_loaded_what_it_serves(
    registry: Registry, models: Models, new_server: Callable[..., InferenceServer], tmp_path: Path
) -> None:
    registry.serve("early", {registry.publish("m", models["scaler"](3)): 1})
    server = new_server(tmp_path)
    server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        # Its published types know synchronous channels only.
        health: Any = health_pb2_grpc.HealthStub(channel)
        name = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
        watch = health.Watch(health_pb2.HealthCheckRequest(service=name))
        async with asyncio.timeout(60):
            while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
                pass
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        assert (await stub.ModelReady(pb.ModelReadyRequest(name="early"))).ready
