"""Who may call what: tokens, roles, and the methods that are open to everyone."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from inference import grpc_service_pb2, grpc_service_pb2_grpc
from lepton.access.v1.access_pb2 import PERMISSION_PREDICT
from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common import errors
from lepton_common.auth import mint_token
from lepton_common.rpc import named_errors
from lepton_common.server import Service

# The published types of both know synchronous channels only.
HealthStub: Any = health_pb2_grpc.HealthStub
ReflectionStub: Any = reflection_pb2_grpc.ServerReflectionStub

ROLES = ("reader", "predictor", "writer", "admin")
TOKENS = {role: mint_token() for role in ROLES}

GET = pb.GetDatasetRequest(name="datasets/digits")
DELETE = pb.DeleteDatasetRequest(name="datasets/digits")
WATCH = pb.WatchDatasetVersionRequest(name="datasets/digits/versions/1")


class Inference(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """A protocol of others: its contract says nothing of permissions."""

    async def ServerLive(self, request: object, context: object) -> grpc_service_pb2.ServerLiveResponse:
        return grpc_service_pb2.ServerLiveResponse(live=True)

    async def ModelInfer(
        self, request: grpc_service_pb2.ModelInferRequest, context: object
    ) -> grpc_service_pb2.ModelInferResponse:
        return grpc_service_pb2.ModelInferResponse(id=request.id)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[grpc_service_pb2.ModelInferRequest], context: object
    ) -> AsyncIterator[grpc_service_pb2.ModelStreamInferResponse]:
        async for request in requests:
            response = grpc_service_pb2.ModelInferResponse(id=request.id)
            yield grpc_service_pb2.ModelStreamInferResponse(infer_response=response)

    async def RepositoryIndex(
        self, request: object, context: object
    ) -> grpc_service_pb2.RepositoryIndexResponse:
        return grpc_service_pb2.RepositoryIndexResponse()


INFERENCE = Service(
    descriptor=grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    add=grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server,
    servicer=Inference(),  # type: ignore[abstract]
    permissions={
        "ServerLive": None,
        "ModelInfer": PERMISSION_PREDICT,
        "ModelStreamInfer": PERMISSION_PREDICT,
    },
    validate=False,
)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    entries = [{"name": f"the {role}", "sha256": TOKENS[role][1], "roles": [role]} for role in ROLES]
    path.write_text(json.dumps({"tokens": entries}))
    return path


async def get(stub: Any) -> None:
    await stub.GetDataset(GET)


async def delete(stub: Any) -> None:
    await stub.DeleteDataset(DELETE)


async def write(stub: Any) -> None:
    await stub.WriteUpload(iter([pb.WriteUploadRequest(data=b"abc")]))


async def watch(stub: Any) -> None:
    async for _ in stub.WatchDatasetVersion(WATCH):
        pass


async def infer(stub: Any) -> None:
    await stub.ModelInfer(grpc_service_pb2.ModelInferRequest(id="1"))


async def stream_infer(stub: Any) -> None:
    async for _ in stub.ModelStreamInfer(iter([grpc_service_pb2.ModelInferRequest(id="1")])):
        pass


async def index(stub: Any) -> None:
    await stub.RepositoryIndex(grpc_service_pb2.RepositoryIndexRequest())


MAY = [
    (get, {"reader", "writer", "admin"}),
    (watch, {"reader", "writer", "admin"}),
    (delete, {"writer", "admin"}),
    (write, {"writer", "admin"}),
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("call", "allowed"), MAY, ids=[call.__name__ for call, _ in MAY])
async def test_a_role_may_call_what_its_permissions_allow(
    start: Any, stub_to: Any, token_file: Path, role: str, call: Any, allowed: set[str]
) -> None:
    server = await start(token_file=token_file)
    stub = await stub_to(server.address, token=TOKENS[role][0])

    if role in allowed:
        await call(stub)
    else:
        with pytest.raises(errors.PermissionDenied, match=f"the {role} may not call"), named_errors():
            await call(stub)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        pytest.param(infer, {"predictor", "writer", "admin"}, id="given by the service"),
        pytest.param(stream_infer, {"predictor", "writer", "admin"}, id="of a stream in both directions"),
        pytest.param(index, {"admin"}, id="admin where nobody says anything"),
    ],
)
async def test_the_permissions_of_a_protocol_of_others(
    start: Any, cleanup: Any, token_file: Path, role: str, call: Any, allowed: set[str]
) -> None:
    server = await start(INFERENCE, token_file=token_file)
    channel = await cleanup.enter_async_context(grpc.aio.insecure_channel(server.address))
    stub = BearerStub(grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel), TOKENS[role][0])

    if role in allowed:
        await call(stub)
    else:
        with pytest.raises(errors.PermissionDenied), named_errors():
            await call(stub)


class BearerStub:
    """A stub as other clients write it: the token is metadata of each call."""

    def __init__(self, stub: Any, token: str) -> None:
        self._stub, self._metadata = stub, (("authorization", f"Bearer {token}"),)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stub, name)
        return lambda request: method(request, metadata=self._metadata)


@pytest.mark.parametrize("token", [None, "wrong"])
@pytest.mark.parametrize("call", [get, write, watch])
async def test_a_caller_that_is_not_known_is_refused(
    start: Any, stub_to: Any, datasets: Any, token_file: Path, token: str | None, call: Any
) -> None:
    server = await start(token_file=token_file)
    stub = await stub_to(server.address, **({"token": token} if token else {}))

    with pytest.raises(errors.Unauthenticated), named_errors():
        await call(stub)

    assert not datasets.begun.is_set()


async def test_a_caller_that_is_not_known_learns_nothing_of_its_request(
    start: Any, stub_to: Any, token_file: Path
) -> None:
    stub = await stub_to((await start(token_file=token_file)).address)

    with pytest.raises(errors.Unauthenticated), named_errors():
        await stub.GetDataset(pb.GetDatasetRequest(name="not a name"))


async def test_a_token_that_was_taken_away_is_refused_at_once(
    start: Any, stub_to: Any, token_file: Path
) -> None:
    server = await start(token_file=token_file)
    stub = await stub_to(server.address, token=TOKENS["reader"][0])
    await get(stub)

    token_file.write_text(json.dumps({"tokens": []}))

    with pytest.raises(errors.Unauthenticated), named_errors():
        await get(stub)


async def test_a_client_takes_up_a_new_token_from_its_file(
    start: Any, stub_to: Any, token_file: Path, tmp_path: Path
) -> None:
    server = await start(token_file=token_file)
    held = tmp_path / "token"
    held.write_text(TOKENS["reader"][0])
    stub = await stub_to(server.address, token_path=held)
    with pytest.raises(errors.PermissionDenied), named_errors():
        await delete(stub)

    held.write_text(TOKENS["writer"][0] + "\n")

    await delete(stub)


async def test_health_and_reflection_ask_nobody(start: Any, token_file: Path) -> None:
    server = await start(token_file=token_file)
    async with grpc.aio.insecure_channel(server.address) as channel:
        health = await HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        stream = ReflectionStub(channel).ServerReflectionInfo(iter([listing]))
        answers = [answer async for answer in stream]

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert {service.name for service in answers[0].list_services_response.service} == {
        "lepton.dataset.v1.DatasetService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_service_can_open_a_method(start: Any, token_file: Path) -> None:
    server = await start(INFERENCE, token_file=token_file)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        response = await stub.ServerLive(grpc_service_pb2.ServerLiveRequest())

    assert response.live


async def test_without_a_credential_file_everyone_may_do_everything(stub: Any) -> None:
    await delete(stub)


async def test_a_server_does_not_start_with_a_bad_credential_file(start: Any, token_file: Path) -> None:
    token_file.write_text('{"tokens": [{"name": "ada"}]}')

    with pytest.raises(ValueError, match="not a credential file"):
        await start(token_file=token_file)
