"""What callers are told when there is too much to do, and who goes first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.errors import InvalidField, Overloaded
from lepton_common.status import named_errors

if TYPE_CHECKING:
    from inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub as Stub

    from .conftest import InferenceServer, Registry

Models = dict[str, Callable[..., bytes]]
Ask = Callable[..., pb.ModelInferRequest]
PLACES = 4


@pytest.fixture
async def full(
    registry: Registry, new_server: Callable[..., InferenceServer], models: Models, tmp_path: Path
) -> AsyncIterator[Stub]:
    """A client of a server with few places, where requests wait a while for others to come."""
    server = new_server(tmp_path, MAX_QUEUE_REQUESTS=str(PLACES))
    server.start()
    version = registry.publish("scaler", models["scaler"](2))
    registry.serve("patient", {version: 1}, max_batch_size=64, max_queue_delay_microseconds=2_000_000)
    registry.wait_for("patient", version, endpoint_pb2.SERVING_STATE_READY, replica="second")
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


async def outcome(stub: Stub, request: pb.ModelInferRequest) -> str:
    """`answered`, or how it was told to come again."""
    try:
        with named_errors():
            await stub.ModelInfer(request)
    except Overloaded as error:
        assert error.retry_after_seconds is not None and error.retry_after_seconds > 0
        return error.message
    return "answered"


def prioritised(request: pb.ModelInferRequest, priority: int) -> pb.ModelInferRequest:
    request.parameters["priority"].int64_param = priority
    return request


async def test_who_has_no_place_is_told_when_to_come_again(full: Stub, ask: Ask) -> None:
    outcomes = await asyncio.gather(*(outcome(full, ask("patient", n)) for n in range(PLACES + 3)))
    assert Counter(outcomes) == {"answered": PLACES, "the queue is full": 3}


async def test_a_higher_priority_takes_the_place_of_a_lower_one(full: Stub, ask: Ask) -> None:
    low = [asyncio.create_task(outcome(full, prioritised(ask("patient", n), 5))) for n in range(PLACES)]
    high = [asyncio.create_task(outcome(full, ask("patient", n))) for n in range(2)]
    assert [*await asyncio.gather(*high)] == ["answered"] * 2
    told = Counter(await asyncio.gather(*low))
    assert told["answered"] == PLACES - 2
    assert told["others of higher priority came"] + told["the queue is full"] == 2


async def test_a_priority_that_there_is_not_is_refused(full: Stub, ask: Ask) -> None:
    with pytest.raises(InvalidField, match="from 0 to 5"), named_errors():
        await full.ModelInfer(prioritised(ask("patient", 1), 6))
