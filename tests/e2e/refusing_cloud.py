"""A cloud with a few good things in it, every way to call it, and what must hold when it refuses."""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference import grpc_service_pb2
from lepton.agent.v1 import agent_pb2
from lepton.compression.v1 import compression_pb2
from lepton.dataset.v1 import dataset_pb2
from lepton.endpoint.v1 import endpoint_pb2
from lepton.model.v1 import model_pb2
from lepton.training.v1 import training_pb2
from lepton_common.errors import LeptonError
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_common.status import named_errors
from lepton_sdk.client import Client
from lepton_sdk.local import LocalCloud

from .bad_files import FILES, FLOWERS, TINY_IMAGES, flowers, pictures
from .bad_models import MODELS, BadModel, double

CONTRACTS = {
    "data_ingest": dataset_pb2.DESCRIPTOR,
    "trainer": training_pb2.DESCRIPTOR,
    "compressor": compression_pb2.DESCRIPTOR,
    "registry": model_pb2.DESCRIPTOR,
    "inference": grpc_service_pb2.DESCRIPTOR,
    "rl_agent": agent_pb2.DESCRIPTOR,
}
METHODS: Mapping[str, tuple[str, MethodDescriptor]] = {
    method.input_type.full_name: (service, method)
    for service, contract in [*CONTRACTS.items(), ("registry", endpoint_pb2.DESCRIPTOR)]
    for described in contract.services_by_name.values()
    for method in described.methods
    if not method.client_streaming
}
"""By the name of a request: the service and the method that it is for."""

INTERNALS = re.compile(
    r"Traceback|File \"|site-packages|\blepton_(?!model)\w|\w(Error|Exception)\b|0x[0-9a-f]{6}"
    r"|pyarrow|onnxruntime|sqlite|sqlalchemy|protobuf|<class"
)
"""What only somebody who knows how a service is built can make sense of."""


def path_of(method: MethodDescriptor) -> str:
    """The path of a method in HTTP/2."""
    return f"/{method.containing_service.full_name}/{method.name}"


def process_ids(cloud: LocalCloud) -> dict[str, int]:
    """The process of every service."""
    return {
        service: process.handle.pid
        for service, process in cloud.processes.items()
        if process.handle is not None
    }


@dataclass(frozen=True, kw_only=True)
class RefusingCloud:
    """Services that are asked for what they must refuse."""

    cloud: LocalCloud
    client: Client
    channels: Mapping[str, grpc.aio.Channel]
    """By service; what they send, they neither check nor limit."""
    processes: Mapping[str, int]
    """Those that the cloud started with."""
    bad_versions: dict[str, str]
    """By the key in `FILES`: the version that is built from the file."""

    async def ask(self, request: Message) -> Any:
        """What the method that takes such a request answers; of a stream, all answers.

        Raises:
            LeptonError: the refusal; its cause is what gRPC raised.
        """
        service, method = METHODS[request.DESCRIPTOR.full_name]
        write, read = type(request).SerializeToString, GetMessageClass(method.output_type).FromString
        channel: Any = self.channels[service]
        path = path_of(method)
        with named_errors():
            if method.server_streaming:
                stream = channel.unary_stream(path, write, read)(request, timeout=60)
                return [answer async for answer in stream]
            return await channel.unary_unary(path, write, read)(request, timeout=60)

    async def send(self, service: str, path: str, data: bytes, **options: Any) -> None:
        """Send bytes that no stub would send, to a method that may not exist.

        Raises:
            LeptonError: the refusal; its cause is what gRPC raised.
        """
        channel: Any = self.channels[service]
        with named_errors():
            await channel.unary_unary(path)(data, timeout=60, **options)

    async def announce(self, dataset: str, data: bytes, **facts: Any) -> str:
        """The name of a new upload of these bytes, of which nothing is written."""
        digest = hashlib.sha256(data).hexdigest()
        told: dict[str, Any] = {"filename": "a.csv", "size_bytes": len(data), "sha256": digest} | facts
        upload = dataset_pb2.Upload(**told)
        response = await self.ask(dataset_pb2.CreateUploadRequest(parent=dataset, upload=upload))
        return str(response.upload.name)

    async def build(self, dataset: str, file: Path, **spec: Any) -> str:
        """The name of a version of this file, whose building has begun."""
        upload = await self.client.datasets.upload(dataset, file)
        source = dataset_pb2.Source(upload=upload.name, format=spec.pop("format", 0))
        wanted = dataset_pb2.DatasetVersionSpec(sources=[source], **spec)
        return (await self.client.datasets.create_version(dataset, wanted)).name

    async def built(self, version: str) -> dataset_pb2.DatasetVersion:
        """A version when its job has ended, which must be at the first attempt."""
        *_, ended = [found async for found in self.client.datasets.watch_version(version)]
        assert ended.status.attempt == 1
        return ended

    async def publish(self, name: str, model: BadModel, **facts: Any) -> str:
        """The name of a new version of a model."""
        objects = ObjectStore(f"file://{self.cloud.directory}/objects")
        blob = await asyncio.to_thread(put_blob, objects, "models", model.make())
        file = model_pb2.ArtifactFile(
            path="model.onnx",
            sha256=model.sha256 or blob.sha256,
            size_bytes=blob.size_bytes,
            key=model.key or blob.key,
        )
        told: dict[str, Any] = {
            "format": model_pb2.MODEL_FORMAT_ONNX,
            "files": [file],
            "signature": model.signature,
        } | facts
        version = model_pb2.ModelVersion(**told)
        request = model_pb2.CreateModelVersionRequest(parent=f"models/{name}", model_version=version)
        return str((await self.ask(request)).model_version.name)

    async def check_serving(self) -> None:
        """Every service is the process that it was, and says that it serves."""
        assert process_ids(self.cloud) == self.processes
        for service, channel in self.channels.items():
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service

    def check_told(self, error: LeptonError, wanted: type[LeptonError], says: tuple[str, ...]) -> None:
        """The error is the wanted one, under its code; it says this, in its text or of a field, and nothing
        of how the service is built."""
        text = "\n".join(
            [error.message, *error.metadata.values()]
            + [f"{violation.field}: {violation.description}" for violation in error.violations]
        )
        assert type(error) is wanted, text
        if isinstance(error.__cause__, grpc.aio.AioRpcError):
            assert error.__cause__.code().value[0] == error.code
        for words in says:
            assert words in text, f"{words!r} is not in: {text}"
        self.check_discreet(text)

    def check_discreet(self, text: str) -> None:
        """The text tells nothing of how the service is built."""
        assert str(self.cloud.directory) not in text
        assert not INTERNALS.search(text), text


async def fill(lepton: RefusingCloud, folder: Path) -> None:
    """Make everything that the tables of bad input speak of."""
    await asyncio.gather(_datasets(lepton, folder), _models(lepton), _agents(lepton))
    assert (await lepton.built("datasets/flowers/versions/1")).rejected, "training has data from here on"


async def _datasets(lepton: RefusingCloud, folder: Path) -> None:
    for dataset, schema, name, data in (
        ("flowers", FLOWERS, "flowers.csv", flowers()),
        ("pictures", TINY_IMAGES, "pictures.tar", pictures()),
    ):
        (folder / name).write_bytes(data)
        await lepton.client.datasets.create(dataset, schema)
        await lepton.build(f"datasets/{dataset}", folder / name, max_rejected_fraction=0.5)
    assert await lepton.announce("datasets/flowers", bytes(9)) == "datasets/flowers/uploads/2"

    await lepton.client.datasets.create("files")
    for case, file in FILES.items():
        (folder / file.name).write_bytes(file.make())
        lepton.bad_versions[case] = await lepton.build(
            "datasets/files", folder / file.name, schema=file.schema, format=file.format
        )


async def _models(lepton: RefusingCloud) -> None:
    good = await lepton.publish("double", BadModel((), double))
    await lepton.client.endpoints.create("double", {good: 1})
    # From here on the server has the model's bytes: a bad version of them must not profit from that.
    await lepton.client.endpoints.wait_ready("endpoints/double")
    keras = model_pb2.ArtifactFile(
        path="model.keras", sha256="0" * 64, size_bytes=1, key="models/blobs/keras"
    )
    await lepton.publish("net", BadModel((), double), format=model_pb2.MODEL_FORMAT_KERAS, files=[keras])
    for name, model in MODELS.items():
        version = await lepton.publish(name, model)
        await lepton.client.endpoints.create(name, {version: 1})


async def _agents(lepton: RefusingCloud) -> None:
    create = lepton.client.agents.create
    await create("pole", agent_pb2.Agent(environment="CartPole-v1", dqn=agent_pb2.Dqn()))
    await create("walker", agent_pb2.Agent(environment="CliffWalking-v1", q_learning=agent_pb2.QLearning()))
    spaces = agent_pb2.Spaces(box=agent_pb2.BoxSpace(shape=[3]), actions=2)
    await create("bandit", agent_pb2.Agent(spaces=spaces, dqn=agent_pb2.Dqn()))
