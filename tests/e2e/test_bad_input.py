"""Bad input of every kind gets a clear error with the right code, and the services go on.

One cloud for the whole module, into which a few good things are put first. After every case all of its
processes must be the ones that they were, and serve.
"""

import asyncio
import hashlib
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference import grpc_service_pb2
from lepton.agent.v1 import agent_pb2
from lepton.compression.v1 import compression_pb2
from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.endpoint.v1 import endpoint_pb2
from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2
from lepton.training.v1 import training_pb2
from lepton_common.errors import (
    ChecksumMismatch,
    InvalidField,
    InvalidModel,
    LeptonError,
    NotFound,
    TensorMismatch,
    TooLarge,
    WrongOffset,
    WrongState,
)
from lepton_common.objects import ObjectStore
from lepton_common.status import from_status, named_errors
from lepton_sdk import jobs
from lepton_sdk.client import Client
from lepton_sdk.local import MODULES, LocalCloud, running

from .bad_files import BAD_MEMBERS, BAD_ROWS, FILES, FLOWERS, TINY_IMAGES, flowers, pictures
from .bad_models import MODELS, double, publish
from .bad_requests import (
    AGENTS,
    COMPRESSION,
    DATASETS,
    INFERENCE,
    PAGES,
    REGISTRY,
    TRAINING,
    Refusals,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

CONTRACTS = {
    "data_ingest": dataset_pb2.DESCRIPTOR,
    "trainer": training_pb2.DESCRIPTOR,
    "compressor": compression_pb2.DESCRIPTOR,
    "registry": model_pb2.DESCRIPTOR,
    "inference": grpc_service_pb2.DESCRIPTOR,
    "rl_agent": agent_pb2.DESCRIPTOR,
}
METHODS: dict[str, tuple[str, MethodDescriptor]] = {
    method.input_type.full_name: (service, method)
    for service, contract in [*CONTRACTS.items(), ("registry", endpoint_pb2.DESCRIPTOR)]
    for described in contract.services_by_name.values()
    for method in described.methods
    if not method.client_streaming
}
"""The service and the method that a request is for."""

FIRST_METHOD = {
    service: "/{0.containing_service.full_name}/{0.name}".format(
        next(iter(contract.services_by_name.values())).methods[0]
    )
    for service, contract in CONTRACTS.items()
}
"""Path of some unary method of every service."""

LARGEST_MESSAGE = 64 << 20

INTERNALS = re.compile(
    r"Traceback|File \"|site-packages|\blepton_(?!model)\w|\w(Error|Exception)\b|0x[0-9a-f]{6}"
    r"|pyarrow|onnxruntime|sqlite|sqlalchemy|protobuf|<class"
)
"""What only somebody who knows how a service is built can make sense of."""


@dataclass(frozen=True, kw_only=True)
class Lepton:
    """A cloud with a few good things in it, and every way to call it."""

    cloud: LocalCloud
    client: Client
    channels: dict[str, grpc.aio.Channel]
    """By service; they check nothing and hold nothing back."""
    pids: dict[str, int]

    async def ask(self, request: Message) -> None:
        """Send a request to the method that takes it, and read the answer to its end.

        Raises:
            LeptonError: the refusal; its cause is what gRPC raised.
        """
        service, method = METHODS[request.DESCRIPTOR.full_name]
        path = f"/{method.containing_service.full_name}/{method.name}"
        read = GetMessageClass(method.output_type).FromString
        with named_errors():
            if method.server_streaming:
                stream = self.channels[service].unary_stream(path, type(request).SerializeToString, read)
                async for _ in stream(request, timeout=30):
                    pass
            else:
                call = self.channels[service].unary_unary(path, type(request).SerializeToString, read)
                await call(request, timeout=30)

    async def write(self, upload: str, *pieces: tuple[int, bytes], finish: bool = True) -> None:
        """Write pieces of (offset, bytes) to an upload."""

        async def messages() -> AsyncIterator[dataset_pb2.WriteUploadRequest]:
            for number, (offset, data) in enumerate(pieces, 1):
                yield dataset_pb2.WriteUploadRequest(
                    name=upload, offset=offset, data=data, finish=finish and number == len(pieces)
                )

        stub = dataset_pb2_grpc.DatasetServiceStub(self.channels["data_ingest"])
        with named_errors():
            await stub.WriteUpload(messages())

    async def announce(self, data: bytes) -> str:
        """The name of a new upload of these bytes, none of which is written."""
        upload = dataset_pb2.Upload(
            filename="a.csv", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
        )
        stub = dataset_pb2_grpc.DatasetServiceStub(self.channels["data_ingest"])
        request = dataset_pb2.CreateUploadRequest(parent="datasets/flowers", upload=upload)
        return (await stub.CreateUpload(request)).upload.name

    async def build(self, dataset: str, file: Path, **spec: object) -> str:
        """The name of a version of this file, whose building has begun."""
        upload = await self.client.datasets.upload(dataset, file)
        format_ = spec.pop("format", 0)
        wanted = dataset_pb2.DatasetVersionSpec(
            sources=[dataset_pb2.Source(upload=upload.name, format=format_)], **spec
        )
        return (await self.client.datasets.create_version(dataset, wanted)).name

    async def ended(self, version: str) -> dataset_pb2.DatasetVersion:
        """A version when its job has ended, at its first attempt."""
        found = dataset_pb2.DatasetVersion()
        async for found in self.client.datasets.watch_version(version):
            pass
        assert found.status.attempt == 1
        return found

    async def check_serving(self) -> None:
        """Every process is the one that it was, and says that it serves."""
        assert process_ids(self.cloud) == self.pids
        for service, channel in self.channels.items():
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=10
            )
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service

    def check_told(self, error: LeptonError, wanted: type[LeptonError], says: tuple[str, ...]) -> None:
        """The error is the wanted one, under its code, says this in its text or of a field, and not more."""
        told = [error.message, *error.metadata.values()]
        for violation in error.violations:
            told += [violation.field, violation.description]
        text = "\n".join(told)
        assert type(error) is wanted, text
        if isinstance(error.__cause__, grpc.aio.AioRpcError):
            assert error.__cause__.code().value[0] == error.code
        for words in says:
            assert words in text
        assert str(self.cloud.directory) not in text
        assert not INTERNALS.search(text), text


def process_ids(cloud: LocalCloud) -> dict[str, int]:
    """The process of every service."""
    return {
        service: process.handle.pid
        for service, process in cloud.processes.items()
        if process.handle is not None
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lepton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lepton]:
    """Services that know the datasets, models and agents which the tables speak of."""
    home = tmp_path_factory.mktemp("bad-input")
    async with running(home / "cloud", first_port=0) as cloud, Client(cloud.addresses) as client:
        unlimited = [("grpc.max_send_message_length", -1)]
        channels = {
            service: grpc.aio.insecure_channel(getattr(cloud.addresses, service), unlimited)
            for service in MODULES
        }
        lepton = Lepton(cloud=cloud, client=client, channels=channels, pids=process_ids(cloud))
        await fill(lepton, home)
        yield lepton
        for channel in channels.values():
            await channel.close()
