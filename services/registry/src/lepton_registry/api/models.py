"""`lepton.model.v1.ModelService`."""

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc

from lepton.model.v1 import model_pb2 as pb
from lepton.model.v1 import model_pb2_grpc as pb_grpc
from lepton_common.errors import FieldViolation, InvalidField
from lepton_common.methods import Service
from lepton_registry.adapters.artifacts import Artifacts
from lepton_registry.adapters.models import Models
from lepton_registry.lineage import walk
from lepton_registry.model import File, Format, artifact_digest, check_artifact

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_FORMATS = {pb.MODEL_FORMAT_KERAS: Format.KERAS, pb.MODEL_FORMAT_ONNX: Format.ONNX}


class ModelServicer(pb_grpc.ModelServiceServicer):
    """Answers for models and their versions."""

    def __init__(self, models: Models, artifacts: Artifacts) -> None:
        """Answer from `models`, and read files from `artifacts`."""
        self._models = models
        self._artifacts = artifacts

    async def CreateModel(self, request: pb.CreateModelRequest, context: Context) -> pb.CreateModelResponse:
        """Makes a model."""
        request.model.name = f"models/{request.model_id}"
        model = await self._models.create(request.model, request_id=request.request_id)
        return pb.CreateModelResponse(model=model)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Reads one model."""
        return pb.GetModelResponse(model=await self._models.get(request.name))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """Lists models, by name."""
        page = await self._models.list(
            page_size=request.page_size, page_token=request.page_token, labels=request.label_filter
        )
        return pb.ListModelsResponse(models=page.items, next_page_token=page.next_page_token)

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:
        """Deletes a model and its versions, none of which may be served."""
        await self._models.delete(request.name, etag=request.etag)
        return pb.DeleteModelResponse()

    async def CreateModelVersion(
        self, request: pb.CreateModelVersionRequest, context: Context
    ) -> pb.CreateModelVersionResponse:
        """Registers a version of a model; makes the model if it is not there."""
        version = _decode_version(request.model_version)
        made = await self._models.create_version(request.parent, version, request_id=request.request_id)
        return pb.CreateModelVersionResponse(model_version=made)

    async def GetModelVersion(
        self, request: pb.GetModelVersionRequest, context: Context
    ) -> pb.GetModelVersionResponse:
        """Reads one version."""
        return pb.GetModelVersionResponse(model_version=await self._models.get_version(request.name))

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Context
    ) -> pb.ListModelVersionsResponse:
        """Lists the versions of a model, newest first."""
        page = await self._models.list_versions(
            request.parent,
            page_size=request.page_size,
            page_token=request.page_token,
            labels=request.label_filter,
        )
        for version in page.items:
            # A chain can have 20,000 links, and a page 1,000 versions.
            version.ClearField("lineage")
        return pb.ListModelVersionsResponse(model_versions=page.items, next_page_token=page.next_page_token)

    async def ReadModelFile(
        self, request: pb.ReadModelFileRequest, context: Context
    ) -> AsyncIterator[pb.ReadModelFileResponse]:
        """Sends the bytes of one file of a version."""
        file = await self._models.find_file(request.name, request.path)
        async for data in self._artifacts.read(file):
            yield pb.ReadModelFileResponse(data=data)

    async def DeleteModelVersion(
        self, request: pb.DeleteModelVersionRequest, context: Context
    ) -> pb.DeleteModelVersionResponse:
        """Deletes a version that no endpoint serves."""
        await self._models.delete_version(request.name, etag=request.etag)
        return pb.DeleteModelVersionResponse()

    async def GetLineage(self, request: pb.GetLineageRequest, context: Context) -> pb.GetLineageResponse:
        """Walks from a model version back to the files its records came from."""
        version = await self._models.get_version(request.name)
        start = pb.LineageNode(
            name=version.name,
            kind=pb.LINEAGE_KIND_MODEL_VERSION,
            digest=version.digest,
            parents=version.parents,
        )
        return pb.GetLineageResponse(nodes=walk(start, version.lineage))


def service(models: Models, artifacts: Artifacts) -> Service:
    """Return the service, answering from `models` and `artifacts`."""
    return Service(
        descriptor=pb.DESCRIPTOR.services_by_name["ModelService"],
        add=pb_grpc.add_ModelServiceServicer_to_server,
        servicer=ModelServicer(models, artifacts),
    )


def _decode_version(version: pb.ModelVersion) -> pb.ModelVersion:
    """Check a version that a caller brings, and set what the registry says of it."""
    files = [File(file.path, file.sha256, file.size_bytes, file.key) for file in version.files]
    check_artifact(files, _FORMATS.get(version.format))
    for place, node in enumerate(version.lineage):
        if node.kind == pb.LINEAGE_KIND_UNSPECIFIED:
            raise InvalidField(
                "a link of the lineage has no kind",
                violations=[FieldViolation(f"model_version.lineage[{place}].kind", "must be set")],
            )
    version.digest = artifact_digest(files)
    version.size_bytes = sum(file.size_bytes for file in files)
    return version
