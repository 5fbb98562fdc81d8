"""A real registry on loopback, over both databases, and its real stubs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import grpc
import pytest
from pydantic import SecretStr

from lepton.endpoint.v1 import endpoint_pb2_grpc
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.rpc import connect, named_errors
from lepton_common.server import Server
from lepton_common.settings import ClientSettings, ServerSettings
from lepton_registry.api import services

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True)
class Registry:
    """The stubs of a registry, and the object store that it reads."""

    models: "model_pb2_grpc.ModelServiceAsyncStub"
    endpoints: "endpoint_pb2_grpc.EndpointServiceAsyncStub"
    objects: ObjectStore

    async def version(
        self, parent: str = "models/digits", request_id: str = "", **fields: Any
    ) -> model_pb2.ModelVersion:
        """Register a version: ONNX, of one file, where `fields` do not say otherwise."""
        request = model_pb2.CreateModelVersionRequest(
            parent=parent, model_version=onnx_version(**fields), request_id=request_id
        )
        return (await call(self.models.CreateModelVersion, request)).model_version


Replicas: TypeAlias = Callable[[], Awaitable[Registry]]


def onnx_version(**fields: Any) -> model_pb2.ModelVersion:
    """A version of one file `model.onnx`, with `fields` over that."""
    given: dict[str, Any] = {
        "format": model_pb2.MODEL_FORMAT_ONNX,
        "files": [
            model_pb2.ArtifactFile(
                path="model.onnx", sha256="a" * 64, size_bytes=10, key=f"models/blobs/{'a' * 64}"
            )
        ],
        **fields,
    }
    return model_pb2.ModelVersion(**given)


async def call(method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
    """Call a method; a refusal comes out as the named error that it is."""
    with named_errors():
        return await method(request, timeout=20)


@asynccontextmanager
async def running(
    database_url: str, objects: ObjectStore, *, token_file: Path | None = None, token: str | None = None
) -> AsyncIterator[Registry]:
    """Run a registry over a database and an object store; `token` is what its caller has."""
    server_settings = ServerSettings(drain_seconds=1, token_file=token_file)
    client_settings = ClientSettings(token=None if token is None else SecretStr(token))
    records = await ResourceStore.open(database_url)
    try:
        async with (
            Server(server_settings, services(records, objects)) as server,
            connect(server.address, settings=client_settings) as channel,
        ):
            yield Registry(
                model_pb2_grpc.ModelServiceStub(channel),
                endpoint_pb2_grpc.EndpointServiceStub(channel),
                objects,
            )
    finally:
        await records.close()


@pytest.fixture
async def replicas(database_url: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    """Starts one registry after the other, all over one database."""
    objects = ObjectStore(f"file://{tmp_path}/objects")
    async with AsyncExitStack() as stack:
        yield lambda: stack.enter_async_context(running(database_url, objects))


@pytest.fixture
async def registry(replicas: Replicas) -> Registry:
    """A registry over an empty database."""
    return await replicas()
