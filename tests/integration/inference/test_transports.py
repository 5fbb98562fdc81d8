"""Servers that differ in their transport alone: whatever is asked, all say the same, byte for byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from inference import grpc_service_pb2 as pb
from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.auth import mint_token

from .conftest import TRANSPORTS, InferenceServer
from .test_refusals import BAD_REQUESTS, request

if TYPE_CHECKING:
    from .conftest import Registry

Models = dict[str, Callable[..., bytes]]
REPLICAS = ("first", "second", "third")
SERVICE = "/inference.GRPCInferenceService/"
TOKEN, SHA256 = mint_token()
READER, READER_SHA256 = mint_token()


@pytest.fixture(scope="module")
def transport() -> str:
    """That of the first server; the others have the others."""
    return "grpc"


@pytest.fixture(scope="module")
def servers(
    registry: Registry, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[InferenceServer]]:
    """One server for each transport, all ready, all with the same credentials."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.json"
    callers = [
        {"name": "ada", "sha256": SHA256, "roles": ["admin"]},
        {"name": "joan", "sha256": READER_SHA256, "roles": ["reader"]},
    ]
    tokens.write_text(json.dumps({"tokens": callers}))
    made = []
    for replica, settings in zip(REPLICAS, TRANSPORTS.values(), strict=True):
        made.append(
            InferenceServer(
                tmp_path_factory.mktemp(replica),
                registry,
                replica=replica,
                TOKEN_FILE=str(tokens),
                MAX_MESSAGE_BYTES="100000",
                **settings,
            )
        )
        made[-1].start()
    double, triple = (registry.publish("scaler", models["scaler"](factor)) for factor in (2, 3))
    registry.serve("scaler", {double: 1, triple: 0})
    registry.serve("records", {registry.publish("records", models["records"]()): 1})
    for replica in REPLICAS:
        for endpoint, version in (
            ("scaler", double),
            ("scaler", triple),
            ("records", "models/records/versions/1"),
        ):
            registry.wait_for(endpoint, version, endpoint_pb2.SERVING_STATE_READY, replica=replica)
    yield made
    assert [server.stop() for server in made] == [0] * len(made)


@pytest.fixture
async def channels(servers: list[InferenceServer]) -> AsyncIterator[list[Any]]:
    """A channel to each."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(server.address)) for server in servers
        ]


async def outcome(channel: Any, method: str, message: bytes, *metadata: tuple[str, str]) -> Any:
    """All that a call brings back: its response, or how it failed, and its trailers."""
    call = channel.unary_unary(SERVICE + method)(message, metadata=(("x-request-id", "7"), *metadata))
    try:
        response = await call
    except grpc.aio.AioRpcError as error:
        # As sets: the order in which trailers come means nothing.
        return error.code(), error.details(), {*(error.trailing_metadata() or ())}
    return parsed(method, response), {*(await call.trailing_metadata())}


def parsed(method: str, response: bytes) -> Any:
    """A response without what no two servers share: their times, their memory, and the order of maps."""
    kind = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[method].output_type
    message = getattr(pb, kind.name).FromString(response)
    if method == "ModelStatistics":
        message.ClearField("model_stats")
    if method == "ModelMetadata":
        del message.parameters["memory_bytes"]
    return message


ASKED: dict[str, tuple[str, bytes]] = {
    "live": ("ServerLive", b""),
    "ready": ("ServerReady", b""),
    "the server": ("ServerMetadata", b""),
    "statistics": ("ModelStatistics", b""),
    "the index": ("RepositoryIndex", b""),
    "a model": ("ModelMetadata", pb.ModelMetadataRequest(name="records").SerializeToString()),
    "a configuration": ("ModelConfig", pb.ModelConfigRequest(name="scaler").SerializeToString()),
    "an unknown model": ("ModelConfig", pb.ModelConfigRequest(name="nothing").SerializeToString()),
    "a method that is off": ("LogSettings", b""),
    "an answer": ("ModelInfer", request(id="a").SerializeToString()),
    "an answer of another version": ("ModelInfer", request(model_version="2").SerializeToString()),
    "an answer with typed contents": (
        "ModelInfer",
        request(
            tensor={"contents": pb.InferTensorContents(fp32_contents=[1, 2])}, raw_input_contents=[]
        ).SerializeToString(),
    ),
    "an output by name": (
        "ModelInfer",
        request(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="y")]).SerializeToString(),
    ),
    "no message": ("ModelInfer", b"\xff\xff\xff"),
    "a message cut short": ("ModelInfer", request().SerializeToString()[:-1]),
    "nothing": ("ModelInfer", b""),
    "a message that is too large": ("ModelInfer", request(id="x" * 100_000).SerializeToString()),
    "an answer that is too large": (
        "ModelInfer",
        request(
            id="x" * 49_500,
            tensor={"shape": [6_300, 2]},
            raw_input_contents=[bytes(50_400)],
        ).SerializeToString(),
    ),
    **{case: ("ModelInfer", bad.SerializeToString()) for case, (bad, _, _) in BAD_REQUESTS.items()},
}


@pytest.mark.parametrize("case", ASKED)
async def test_all_say_the_same(channels: list[Any], case: str) -> None:
    method, message = ASKED[case]
    by_grpc, by_http2, by_workers = [
        await outcome(channel, method, message, ("authorization", f"Bearer {TOKEN}")) for channel in channels
    ]
    assert by_http2 == by_workers
    if case.endswith("too large"):
        # Each transport has words of its own for what its limits do not let through.
        by_grpc, by_http2 = by_grpc[0], by_http2[0]
        assert by_http2 is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert by_grpc == by_http2


@pytest.mark.parametrize("token", ["", READER, "wrong"], ids=["nobody", "a reader", "a stranger"])
async def test_all_refuse_the_same_callers(channels: list[Any], token: str) -> None:
    metadata = [("authorization", f"Bearer {token}")] if token else []
    by_grpc, *others = [
        await outcome(channel, "ModelInfer", request().SerializeToString(), *metadata) for channel in channels
    ]
    assert others == [by_grpc] * 2
    assert by_grpc[0] in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


async def test_all_know_no_other_methods(channels: list[Any]) -> None:
    failures = []
    for channel in channels:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(SERVICE + "Nothing")(b"", metadata=(("x-request-id", "7"),))
        failures.append((caught.value.code(), caught.value.details(), {*caught.value.trailing_metadata()}))
    assert failures == [failures[0]] * 3
