"""A server that is told to stop under load: what it has taken it answers, what it does not take it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.errors import Code

from ...storms.conversation import Conversation, call
from ...storms.drain import call_and_stop, was_refused
from ...storms.load import open_load
from ...storms.services import Services, cnn, image

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

READY = endpoint_pb2.SERVING_STATE_READY
Ask = Callable[..., pb.ModelInferRequest]


@pytest.fixture
def stopping(
    registry: Registry, new_server: Callable[..., InferenceServer], tmp_path: Path
) -> InferenceServer:
    """A server for a test to stop."""
    server = new_server(tmp_path)
    server.start()
    return server


async def test_nothing_that_was_taken_fails(
    stopping: InferenceServer, registry: Registry, transport: str
) -> None:
    version = registry.publish("cnn", cnn())
    registry.serve("stopping", {version: 1})
    registry.wait_for("stopping", version, READY, replica="second")
    message = image("stopping")
    loading = asyncio.create_task(
        asyncio.to_thread(open_load, stopping.address, call(message), rate=300, seconds=60)
    )
    alone, streamed, _ = await call_and_stop(Services(registry, stopping), message, 1.0)
    outcomes = await loading
    assert alone.answered
    assert streamed.answered
    assert alone.failures == streamed.failures == []
    assert any(outcome.status == Code.OK for outcome in outcomes)
    if transport == "http2":
        # The server of gRPC itself cuts off what comes while it ends.
        failed = [o for o in outcomes if o.status != Code.OK and not was_refused(o)]
        assert failed == []


async def test_clients_are_asked_to_go_before_the_last_answer(
    stopping: InferenceServer,
    registry: Registry,
    models: dict[str, Callable[..., bytes]],
    ask: Ask,
    transport: str,
) -> None:
    version = registry.publish("m", models["scaler"](2))
    registry.serve("leaving", {version: 1}, max_queue_delay_microseconds=3_000_000)
    registry.wait_for("leaving", version, READY, replica="second")
    conversation = Conversation(stopping.address, call(ask("leaving", 1).SerializeToString()))
    conversation.begin(0.0)
    conversation.send()
    await asyncio.sleep(0.3)
    stopped = asyncio.create_task(asyncio.to_thread(stopping.stop))
    asked_to_go = False
    while conversation.in_flight:
        await asyncio.sleep(0.01)
        conversation.receive()
        conversation.send()
        asked_to_go = asked_to_go or (conversation.leaving and conversation.in_flight > 0)
    assert [outcome.status for outcome in conversation.outcomes()] == [Code.OK]
    # gRPC's own server says it when it ends.
    assert asked_to_go or transport == "grpc"
    conversation.close()
    assert await stopped == 0


async def test_what_was_taken_of_a_stream_is_answered(
    stopping: InferenceServer, registry: Registry, models: dict[str, Callable[..., bytes]], ask: Ask
) -> None:
    version = registry.publish("m", models["scaler"](2))
    registry.serve("streaming", {version: 1}, max_queue_delay_microseconds=1_000_000)
    registry.wait_for("streaming", version, READY, replica="second")
    async with grpc.aio.insecure_channel(stopping.address) as channel:
        stub: pb_grpc.GRPCInferenceServiceAsyncStub = pb_grpc.GRPCInferenceServiceStub(channel)
        stream = stub.ModelStreamInfer()
        for number in range(5):
            await stream.write(ask("streaming", number, id=str(number)))
        # The first answer comes with those to all that had been read by then.
        assert await stream.read() is not grpc.aio.EOF
        await stream.write(ask("streaming", 5, id="5"))
        await asyncio.sleep(0.3)
        stopped = asyncio.create_task(asyncio.to_thread(stopping.stop))
        ids = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while True:
                response = await stream.read()
                assert isinstance(response, pb.ModelStreamInferResponse)
                ids.append(response.infer_response.id)
        assert ids == ["1", "2", "3", "4", "5"]
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await stopped == 0
