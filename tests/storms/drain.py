"""A server that is told to stop, or killed, while it is called all the time."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton_common.errors import Code

from ..integration.inference.conftest import until
from .conversation import NOT_ACCEPTED, Outcome, call
from .load import SERVER_CORE, Elsewhere, closed_load, on_core, open_load
from .records import Record, at_most
from .services import Services, cnn, image, serve

SHARE = 0.3
SECONDS = 2.0
"""How long it is called before it is told to stop."""
MOST_SECONDS = 60.0
CALLERS, STREAMS, IN_STREAM = 8, 2, 8
# How a server says that it has not taken a call, and how a channel says that nobody listens any more.
_REFUSAL = "the server is shutting down; call again"
_NOBODY = "failed to connect to all addresses"
# What gRPC's client says of itself where it writes to a stream that the server has just ended.
_WROTE_TOO_LATE = "Internal error from Core"
_NO_RETRIES = [("grpc.enable_retries", 0)]


@dataclass
class Tally:
    """What became of the calls of ordinary clients."""

    answered: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    def take(self, error: grpc.aio.AioRpcError) -> None:
        """Counts a call that failed: refused, or lost."""
        details = error.details() or ""
        if details == _WROTE_TOO_LATE or (
            error.code() is grpc.StatusCode.UNAVAILABLE and (_REFUSAL in details or _NOBODY in details)
        ):
            self.refused += 1
        else:
            self.failures.append(f"{error.code().name}: {details}")


def was_refused(outcome: Outcome) -> bool:
    """Whether the server said that it had not taken the call."""
    return outcome.status == NOT_ACCEPTED or (
        outcome.status == Code.UNAVAILABLE and outcome.message == _REFUSAL
    )


async def call_one_by_one(stub: Any, message: bytes, tally: Tally) -> None:
    """Calls until the server takes no more."""
    request = pb.ModelInferRequest.FromString(message)
    while not tally.refused:
        try:
            await stub.ModelInfer(request)
            tally.answered += 1
        except grpc.aio.AioRpcError as error:
            tally.take(error)
            if not tally.refused:
                return


async def call_in_a_stream(stub: Any, message: bytes, tally: Tally) -> None:
    """Asks in a stream, a few requests at a time, until the server ends it.

    A server that takes no more of them answers those that it took, and says that it goes.
    """
    request = pb.ModelInferRequest.FromString(message)
    room = asyncio.Semaphore(IN_STREAM)
    stream = stub.ModelStreamInfer()

    async def ask() -> None:
        while True:
            await room.acquire()
            await stream.write(request)

    asking = asyncio.create_task(ask())
    try:
        async for response in stream:
            if response.error_message:
                tally.failures.append(f"in a stream: {response.error_message}")
            tally.answered += 1
            room.release()
    except grpc.aio.AioRpcError as error:
        tally.take(error)
    else:
        tally.failures.append("a stream ended as if there were no more requests")
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await asking


async def call_and_stop(services: Services, message: bytes, seconds: float) -> tuple[Tally, Tally, float]:
    """Ordinary clients call, alone and in streams, until the server has stopped; it took so many seconds."""
    alone, streamed = Tally(), Tally()
    async with grpc.aio.insecure_channel(services.server.address, options=_NO_RETRIES) as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(call_one_by_one(stub, message, alone))
            for _ in range(STREAMS):
                group.create_task(call_in_a_stream(stub, message, streamed))
            await asyncio.sleep(seconds)
            began = time.perf_counter()
            assert services.server.process is not None
            services.server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(services.server.process.wait, 60) == 0
            return alone, streamed, time.perf_counter() - began


def measure(services: Services, elsewhere: Elsewhere, *, bars: bool) -> Iterator[Record]:
    """Measures; without bars, only tells."""
    message = image("drained")
    serve(services, "drained", cnn(), max_batch_size=64)
    address, asked = services.server.address, call(message)
    capacity = len(elsewhere(closed_load, address, asked, in_flight=64, seconds=1.0))
    loading = elsewhere.start(open_load, address, asked, rate=SHARE * capacity, seconds=MOST_SECONDS)
    alone, streamed, seconds = asyncio.run(call_and_stop(services, message, SECONDS))
    outcomes = loading.result()
    refused = sum(map(was_refused, outcomes))
    answered = sum(outcome.status == Code.OK for outcome in outcomes)
    none = 0.0 if bars else None
    yield Record("answered", answered + alone.answered, "")
    yield Record("answered in streams", streamed.answered, "")
    yield Record("not taken, and told so", refused + alone.refused + streamed.refused, "")
    yield at_most("taken and failed", len(outcomes) - answered - refused + len(alone.failures), "", none)
    yield at_most("taken in a stream and failed", len(streamed.failures), "", none)
    yield Record("from SIGTERM to the end", seconds, "s")
    yield Record("from a start after SIGKILL to an answer", restart(services, message), "s")


def restart(services: Services, message: bytes) -> float:
    """Starts the server, kills it, and starts it without a registry; the last start took so many seconds."""
    server = services.server
    with on_core(SERVER_CORE):
        server.start()
        wait_for_answer(server.address, message)
        server.kill()
        services.registry.kill()
        began = time.perf_counter()
        server.start()
    wait_for_answer(server.address, message)
    return time.perf_counter() - began


def wait_for_answer(address: str, message: bytes) -> None:
    """Calls until the server has loaded what it served before."""
    request = pb.ModelInferRequest.FromString(message)
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)

        def answers() -> bool:
            try:
                stub.ModelInfer(request)
            except grpc.RpcError:
                return False
            return True

        until(answers)
