"""Models, their versions and their lineage."""

import json
from collections.abc import Sequence
from typing import Any

from grpc import aio

from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.errors import NotFound
from lepton_sdk.calls import call, collect, pages

EVALUATION = "evaluation.json"
"""The file that says how good a trained version is."""
READ_SECONDS = 600.0


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

    async def read_file(self, name: str, path: str) -> bytes:
        """The bytes of one file of a version, checked against their digest by the registry.

        Raises:
            NotFound: there is no such version, or it has no such file.
        """
        request = model_pb2.ReadModelFileRequest(name=name, path=path)
        pieces = await collect(self._stub.ReadModelFile, request, seconds=READ_SECONDS)
        return b"".join(piece.data for piece in pieces)

    async def evaluated(self, name: str) -> model_pb2.ModelVersion:
        """The version, or the nearest one that it was made from, with an `evaluation.json` beside it.

        What was compressed has none of its own: the training measured what it was made from.

        Raises:
            NotFound: there is no such version, or none of the chain was evaluated.
        """
        version = await self.get_version(name)
        makers = [node.name for node in version.lineage if node.kind == model_pb2.LINEAGE_KIND_MODEL_VERSION]
        found = version
        while all(file.path != EVALUATION for file in found.files):
            if not makers:
                raise NotFound(f"{version.name} has no evaluation", metadata={"name": version.name})
            found = await self.get_version(makers.pop(0))
        return found

    async def evaluation(self, name: str) -> dict[str, Any]:
        """How good a version is: its `evaluation.json`, or that of the nearest version it was made from.

        Raises:
            NotFound: as `evaluated`.
        """
        version = await self.evaluated(name)
        document: dict[str, Any] = json.loads(await self.read_file(version.name, EVALUATION))
        return document

    async def lineage(self, name: str) -> Sequence[model_pb2.LineageNode]:
        """The version first, then everything it came from, nearest first."""
        return [*(await call(self._stub.GetLineage, model_pb2.GetLineageRequest(name=name))).nodes]
