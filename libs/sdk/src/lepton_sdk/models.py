"""Models, their versions and their lineage."""

from collections.abc import Sequence

from grpc import aio

from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_sdk.calls import call, pages


class Models:
    """Calls of the registry about models."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = model_pb2_grpc.ModelServiceStub(channel)

    async def get(self, name: str) -> model_pb2.Model:
        """One model by its name `models/{model}`."""
        return (await call(self._stub.GetModel, model_pb2.GetModelRequest(name=name))).model

    async def list(self, *, labels: dict[str, str] | None = None) -> list[model_pb2.Model]:
        """All models that have these labels."""

        async def page(token: str) -> tuple[list[model_pb2.Model], str]:
            request = model_pb2.ListModelsRequest(page_token=token, label_filter=labels or {})
            response = await call(self._stub.ListModels, request)
            return [*response.models], response.next_page_token

        return await pages(page)

    async def delete(self, name: str) -> None:
        """Delete a model and its versions, none of which may be served."""
        await call(self._stub.DeleteModel, model_pb2.DeleteModelRequest(name=name))

    async def get_version(self, name: str) -> model_pb2.ModelVersion:
        """One version by its name; `.../versions/latest` is the newest."""
        request = model_pb2.GetModelVersionRequest(name=name)
        return (await call(self._stub.GetModelVersion, request)).model_version

    async def versions(self, model: str) -> Sequence[model_pb2.ModelVersion]:
        """All versions of a model, newest first."""

        async def page(token: str) -> tuple[list[model_pb2.ModelVersion], str]:
            request = model_pb2.ListModelVersionsRequest(parent=model, page_token=token)
            response = await call(self._stub.ListModelVersions, request)
            return [*response.model_versions], response.next_page_token

        return await pages(page)

    async def delete_version(self, name: str) -> None:
        """Delete a version that no endpoint serves."""
        await call(
            self._stub.DeleteModelVersion,
            model_pb2.DeleteModelVersionRequest(name=name),
        )

    async def lineage(self, name: str) -> Sequence[model_pb2.LineageNode]:
        """The version first, then everything it came from, nearest first."""
        return [*(await call(self._stub.GetLineage, model_pb2.GetLineageRequest(name=name))).nodes]
