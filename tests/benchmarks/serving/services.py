"""Lepton's own services: a registry that knows the models, and an inference service that follows it."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from lepton.endpoint.v1 import endpoint_pb2, endpoint_pb2_grpc
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from serving.models import Model
from serving.processes import SERVER_CORE, Server, running, wait_for_models, wait_until


@dataclass(frozen=True)
class Registry:
    """A registry that runs, and the store it shares with the inference service."""

    address: str
    """`host:port`."""
    store: ObjectStore

    def publish(self, model: Model, content: bytes) -> None:
        """Registers the model's first version, and an endpoint of its name."""
        self.add_version(model, content)
        with grpc.insecure_channel(self.address) as channel:
            target = endpoint_pb2.TrafficTarget(model_version=f"models/{model.name}/versions/1", weight=1)
            batching = endpoint_pb2.Batching(max_batch_size=model.most_batched)
            endpoint_pb2_grpc.EndpointServiceStub(channel).CreateEndpoint(
                endpoint_pb2.CreateEndpointRequest(
                    endpoint_id=model.name,
                    endpoint=endpoint_pb2.Endpoint(targets=[target], batching=batching),
                )
            )

    def add_version(self, model: Model, content: bytes) -> None:
        """Registers the model's next version."""
        blob = put_blob(self.store, "models", content)
        file = model_pb2.ArtifactFile(
            path="model.onnx", sha256=blob.sha256, size_bytes=blob.size_bytes, key=blob.key
        )
        with grpc.insecure_channel(self.address) as channel:
            model_pb2_grpc.ModelServiceStub(channel).CreateModelVersion(
                model_pb2.CreateModelVersionRequest(
                    parent=f"models/{model.name}",
                    model_version=model_pb2.ModelVersion(format=model_pb2.MODEL_FORMAT_ONNX, files=[file]),
                )
            )


@contextmanager
def run_registry(folder: Path) -> Iterator[Registry]:
    """A registry whose records and objects lie in a folder, which is made where it is missing."""
    objects = f"file://{folder}/objects"
    settings = _settings(DATABASE_URL=f"sqlite:///{folder}/records.db", OBJECT_STORE_URL=objects)
    address = folder / "address"
    address.unlink(missing_ok=True)
    with running([sys.executable, "-m", "lepton_registry"], folder, settings=settings) as process:
        wait_until(address.exists, process, folder)
        yield Registry(address.read_text(), ObjectStore(objects))


@contextmanager
def run_inference(
    name: str,
    folder: Path,
    *,
    registry: Registry,
    models: Sequence[Model],
    settings: Mapping[str, str],
    core: int = SERVER_CORE,
) -> Iterator[Server]:
    """An inference service that has loaded these models, with one thread for each run.

    `settings` are the service's, in capitals and without `LEPTON_`. A connection stays for as long as it is
    measured, unless they say otherwise.
    """
    common = {
        "REGISTRY_ADDRESS": registry.address,
        "OBJECT_STORE_URL": registry.store.url,
        "RUN_DIRECTORY": f"{folder}/run",
        "REPLICA": folder.name,
        "THREADS": "1",
        "MAX_CONNECTION_AGE_SECONDS": "0",
    }
    command = [sys.executable, "-m", "lepton_inference"]
    address = folder / "address"
    address.unlink(missing_ok=True)
    with running(command, folder, settings=_settings(**(common | dict(settings))), core=core) as process:
        wait_until(address.exists, process, folder)
        server = Server(name, address.read_text(), psutil.Process(process.pid))
        wait_for_models(server, [model.name for model in models], process, folder)
        yield server


def _settings(**settings: str) -> dict[str, str]:
    """Of a service that listens on any port and writes which to `address` in its working directory."""
    return {
        "LEPTON_LISTEN": "127.0.0.1:0",
        "LEPTON_ADDRESS_FILE": "address",
    } | {f"LEPTON_{name}": value for name, value in settings.items()}
