"""The registry over gRPC: what it says is to be served, and what it is told of it.

What it said last is kept in a file, so that a server that starts while the registry is away
knows what to serve.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import grpc
from google.protobuf.message import DecodeError

from lepton.endpoint.v1 import endpoint_pb2, endpoint_pb2_grpc
from lepton.model.v1 import model_pb2
from lepton_common.manifests import Blob
from lepton_common.status import named_errors
from lepton_inference.catalogue import (
    DEFAULT_MAX_BATCH_SIZE,
    Catalogue,
    Endpoint,
    Execution,
    Provider,
    Version,
)
from lepton_inference.deployment import State, Status
from lepton_inference.routing import Route
from lepton_inference.signature import Signature, TensorSpec

logger = logging.getLogger(__name__)

_REPORT_TIMEOUT_SECONDS = 5.0
_PREFIX = "endpoints/"
_STATES = {
    State.LOADING: endpoint_pb2.SERVING_STATE_LOADING,
    State.READY: endpoint_pb2.SERVING_STATE_READY,
    State.FAILED: endpoint_pb2.SERVING_STATE_FAILED,
}
_PROVIDERS: Mapping[int, Provider] = {
    endpoint_pb2.PROVIDER_CPU: "cpu",
    endpoint_pb2.PROVIDER_CUDA: "cuda",
    endpoint_pb2.PROVIDER_TENSORRT: "tensorrt",
}


class RegistryClient:
    """Follows one registry on behalf of an inference server.

    `server` is what it reports of itself, without endpoints; `snapshot` is the file.
    """

    def __init__(
        self, channel: grpc.aio.Channel, server: endpoint_pb2.ReportReplicaRequest, *, snapshot: Path
    ) -> None:
        self._stub = endpoint_pb2_grpc.EndpointServiceStub(channel)
        self._server = server
        self._snapshot = snapshot
        self._known: Catalogue | None = None

    def last_known(self) -> Catalogue | None:
        """What was said last; None if nothing was, or the file cannot be read."""
        try:
            told = endpoint_pb2.WatchEndpointsResponse.FromString(self._snapshot.read_bytes())
        except FileNotFoundError:
            return None
        except (DecodeError, OSError) as error:
            logger.warning("the last known endpoints cannot be read", exc_info=error)
            return None
        self._known = decode_catalogue(told)
        return self._known

    async def watch(self) -> AsyncIterator[Catalogue]:
        """What is to be served, whenever it differs from what is known.

        Raises:
            LeptonError: the registry does not answer any more.
        """
        with named_errors():
            request = endpoint_pb2.WatchEndpointsRequest(pool=self._server.pool)
            async for told in self._stub.WatchEndpoints(request):
                catalogue = decode_catalogue(told)
                # What servers report is part of the message and changes nothing for them.
                if catalogue != self._known:
                    self._known = catalogue
                    # In a thread: a busy disk takes seconds, in which nobody would be answered.
                    await asyncio.to_thread(self._keep, told)
                    yield catalogue

    async def report(self, statuses: Mapping[str, Sequence[Status]]) -> None:
        """Tells the state of every version by endpoint.

        Raises:
            LeptonError: the registry does not answer.
        """
        request = endpoint_pb2.ReportReplicaRequest(
            endpoints=[
                endpoint_pb2.EndpointServing(endpoint=_PREFIX + name, versions=map(encode_status, versions))
                for name, versions in statuses.items()
            ],
        )
        request.MergeFrom(self._server)
        with named_errors():
            await self._stub.ReportReplica(request, timeout=_REPORT_TIMEOUT_SECONDS)

    def _keep(self, told: endpoint_pb2.WatchEndpointsResponse) -> None:
        draft = self._snapshot.with_suffix(".draft")
        try:
            with draft.open("wb") as file:
                file.write(told.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._snapshot)
        except OSError as error:
            logger.warning("the endpoints cannot be written down", exc_info=error)


def decode_catalogue(told: endpoint_pb2.WatchEndpointsResponse) -> Catalogue:
    """What the registry said, as data."""
    return Catalogue(
        endpoints=tuple(map(_endpoint, told.endpoints)),
        versions={version.name: _version(version) for version in told.model_versions},
    )


def encode_status(status: Status) -> endpoint_pb2.ServingStatus:
    """The state of a version, as the registry hears it."""
    return endpoint_pb2.ServingStatus(
        model_version=status.version,
        state=_STATES[status.state],
        reason=status.reason,
        provider=status.provider,
        provider_share=status.provider_share,
    )


def _endpoint(endpoint: endpoint_pb2.Endpoint) -> Endpoint:
    return Endpoint(
        name=endpoint.name.removeprefix(_PREFIX),
        routes=tuple(Route(target.model_version, target.weight) for target in endpoint.targets),
        max_batch_size=endpoint.batching.max_batch_size or DEFAULT_MAX_BATCH_SIZE,
        max_delay_seconds=endpoint.batching.max_queue_delay_microseconds / 1e6,
        preferred_batch_sizes=tuple(sorted(endpoint.batching.preferred_batch_sizes)),
        execution=_execution(endpoint.execution),
        response_cache_bytes=endpoint.response_cache_bytes,
        follows=endpoint.HasField("follow"),
    )


def _execution(execution: endpoint_pb2.Execution) -> Execution:
    default = Execution()
    return Execution(
        instances=execution.instances or default.instances,
        threads=execution.threads,
        provider=_PROVIDERS.get(execution.provider, default.provider),
        warm_up_runs=execution.warm_up_runs or default.warm_up_runs,
    )


def _version(version: model_pb2.ModelVersion) -> Version:
    return Version(
        name=version.name,
        digest=version.digest,
        files={file.path: Blob(file.key, file.sha256, file.size_bytes) for file in version.files},
        signature=Signature(
            inputs=tuple(map(_spec, version.signature.inputs)),
            outputs=tuple(map(_spec, version.signature.outputs)),
            classes=tuple(version.signature.classes),
        ),
        is_onnx=version.format == model_pb2.MODEL_FORMAT_ONNX,
    )


def _spec(tensor: model_pb2.TensorSignature) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape))
