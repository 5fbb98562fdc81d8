"""Connections that no client would make, next to clients that work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2

from ...storms.hostile import settle
from ...storms.services import cnn, image
from ...storms.siege import besiege, lingering

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

CONNECTIONS, LINGERING = 2_000, 40
MOST_GROWTH_BYTES = 64 << 20


@pytest.fixture(scope="module")
def transport() -> str:
    """The service's own: how gRPC's bears such connections is not for us to test."""
    return "http2"


async def test_hostile_connections_harm_nobody_else_and_leave_nothing(
    new_server: Callable[..., InferenceServer], registry: Registry, tmp_path: Path
) -> None:
    version = registry.publish("cnn", cnn())
    registry.serve("besieged", {version: 1})
    server = new_server(tmp_path, METRICS_LISTEN="127.0.0.1:0")
    server.start()
    registry.wait_for("besieged", version, endpoint_pb2.SERVING_STATE_READY, replica="second")
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    message = image("besieged")
    await besiege(server.address, message, connections=300, seed=1)
    settle(server)
    memory = process.memory_info().rss

    request = pb.ModelInferRequest.FromString(message)
    answered = 0
    over = False

    async def call() -> None:
        nonlocal answered
        while not over:
            await stub.ModelInfer(request)
            answered += 1

    async with grpc.aio.insecure_channel(server.address) as channel:
        stub: pb_grpc.GRPCInferenceServiceAsyncStub = pb_grpc.GRPCInferenceServiceStub(channel)
        calling = [asyncio.create_task(call()) for _ in range(2)]
        async with lingering(server.address, message, LINGERING):
            made = await besiege(server.address, message, connections=CONNECTIONS)
        over = True
        # A call that failed is raised here.
        await asyncio.gather(*calling)
    assert made.total() == CONNECTIONS
    assert answered
    assert server.is_running
    settle(server)
    assert process.memory_info().rss - memory < MOST_GROWTH_BYTES
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0
