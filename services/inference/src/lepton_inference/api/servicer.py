"""The methods of the protocol, and who may call them."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias

import grpc

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.access.v1 import access_pb2
from lepton_common.errors import FieldViolation, InvalidField, LeptonError
from lepton_common.server import Service
from lepton_inference.api import descriptions
from lepton_inference.api.parameters import deadline_of, priority_of, sequence_key
from lepton_inference.api.quick import QuickInfer
from lepton_inference.api.shared_memory import SharedMemoryServicer
from lepton_inference.api.tensors import decode_inputs, decode_outputs, encode_response
from lepton_inference.catalogue import check_model_name, check_model_version
from lepton_inference.deployment import Deployment, State
from lepton_inference.ordered import in_order
from lepton_inference.regions import Regions
from lepton_inference.repository import Repository
from lepton_inference.serving import ServedEndpoint

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

STREAM_WINDOW = 64
"""Requests of one stream that are worked on at a time."""

_READ = access_pb2.PERMISSION_READ
_WRITE = access_pb2.PERMISSION_WRITE
_ADMIN = access_pb2.PERMISSION_ADMIN
_PERMISSIONS = {
    "ServerLive": _READ,
    "ServerReady": _READ,
    "ServerMetadata": _READ,
    "ModelReady": _READ,
    "ModelMetadata": _READ,
    "ModelConfig": _READ,
    "ModelStatistics": _READ,
    "RepositoryIndex": _READ,
    "ModelInfer": access_pb2.PERMISSION_PREDICT,
    "ModelStreamInfer": access_pb2.PERMISSION_PREDICT,
    "RepositoryModelLoad": _WRITE,
    "RepositoryModelUnload": _WRITE,
    "SystemSharedMemoryStatus": _READ,
    "SystemSharedMemoryRegister": _ADMIN,
    "SystemSharedMemoryUnregister": _ADMIN,
    "CudaSharedMemoryStatus": _READ,
    "CudaSharedMemoryRegister": _ADMIN,
    "CudaSharedMemoryUnregister": _ADMIN,
    "TraceSetting": _ADMIN,
    "LogSettings": _ADMIN,
}


def service(repository: Repository, regions: Regions | None = None) -> Service:
    """The Open Inference Protocol, answered out of this repository.

    `regions` holds those of shared memory; None where it is off.
    """
    return Service(
        descriptor=pb.DESCRIPTOR.services_by_name["GRPCInferenceService"],
        add=pb_grpc.add_GRPCInferenceServiceServicer_to_server,
        servicer=InferenceServicer(repository, regions),
        permissions=_PERMISSIONS,
        validate=False,
        quick={"ModelInfer": QuickInfer(repository)},
        quiet=frozenset({"ModelInfer", "ModelStreamInfer"}),
    )


class InferenceServicer(SharedMemoryServicer):
    """The methods that this server has: decode, one call, encode."""

    def __init__(self, repository: Repository, regions: Regions | None = None) -> None:
        super().__init__(regions)
        self._repository = repository

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """A process that answers is alive, unless it must be started anew to do its work."""
        return pb.ServerLiveResponse(live=not self._repository.is_lost)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Ready when the first endpoints have been loaded."""
        return pb.ServerReadyResponse(ready=self._repository.is_ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Name, version and extensions."""
        return descriptions.server_metadata(shared_memory=self._regions is not None)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """A model that is not known is not ready; that is no error."""
        try:
            deployment = self._find(request.name, request.version)
        except LeptonError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=deployment.state is State.READY)

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """What the model takes and gives."""
        deployment = self._find(request.name, request.version)
        return descriptions.model_metadata(
            request.name, deployment, versions=self._ready_versions(request.name)
        )

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """How the model is served."""
        deployment = self._find(request.name, request.version)
        config = descriptions.model_config(
            request.name, deployment, versions=self._ready_versions(request.name)
        )
        return pb.ModelConfigResponse(config=config)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        """Counts and times of one version, of all versions of a model, or of everything."""
        if request.name:
            endpoint = self._endpoint(request.name)
            found = [endpoint.find(request.version)] if request.version else [*endpoint.deployments.values()]
            named = [(request.name, deployment) for deployment in found]
        else:
            named = [*self._repository.deployments()]
        return pb.ModelStatisticsResponse(
            model_stats=[descriptions.model_statistics(name, deployment) for name, deployment in named]
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """One request, one answer."""
        return await self._infer(request, context)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answers in the order of the requests, which are worked on together."""
        answers = in_order(partial(self._stream_infer, context=context), requests, window=STREAM_WINDOW)
        async with aclosing(answers):
            async for answer in answers:
                yield answer

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        """Every version here, with its state."""
        entries = [
            descriptions.index_entry(name, status)
            for name, statuses in self._repository.report().items()
            for status in statuses
            if status.state is State.READY or not request.ready
        ]
        return pb.RepositoryIndexResponse(models=entries)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Loads what was unloaded or had failed; what is served is still for endpoints to say."""
        if request.parameters:
            raise InvalidField(
                "configuration and files come from endpoints and model versions, not from the caller",
                violations=[FieldViolation("parameters", "must be empty")],
            )
        await self._endpoint(request.model_name).load()
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Takes an endpoint out of service on this server, until it is loaded or the server starts again."""
        await self._endpoint(request.model_name).unload()
        return pb.RepositoryModelUnloadResponse()

    async def _infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        deadline = deadline_of(request.parameters, remaining_seconds=context.time_remaining())
        deployment = self._find(
            request.model_name, request.model_version, key=sequence_key(request.parameters)
        )
        model = deployment.model
        outputs = decode_outputs(request, model.signature, self._regions)
        arrays = await deployment.infer(
            decode_inputs(request, self._regions),
            deadline=deadline,
            priority=priority_of(request.parameters),
        )
        return encode_response(
            request,
            arrays,
            outputs=outputs,
            version=deployment.version,
            signature=model.signature,
            batched=model.batched,
            regions=self._regions,
        )

    async def _stream_infer(
        self, request: pb.ModelInferRequest, *, context: Context
    ) -> pb.ModelStreamInferResponse:
        try:
            response = await self._infer(request, context)
        except LeptonError as error:
            response = pb.ModelInferResponse(id=request.id)
            return pb.ModelStreamInferResponse(error_message=error.message, infer_response=response)
        # Some clients wait for this mark; every request here has exactly one response.
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response)

    def _find(self, name: str, version: str, *, key: str | None = None) -> Deployment:
        return self._endpoint(name).find(check_model_version(version), key=key)

    def _endpoint(self, name: str) -> ServedEndpoint:
        return self._repository.endpoint(check_model_name(name))

    def _ready_versions(self, name: str) -> list[str]:
        deployments = self._repository.endpoint(name).deployments.values()
        ready = [d.version.number for d in deployments if d.state is State.READY]
        return sorted(ready, key=int)
