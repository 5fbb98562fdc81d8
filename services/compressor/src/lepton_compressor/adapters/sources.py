"""What is compressed, and what it is measured on: told by the registry and the dataset service."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.calls import CALL_SECONDS, answered_by
from lepton_compressor.compression import Manifest, Source


class Sources:
    """Reads model versions and the manifests of what they were trained on."""

    def __init__(
        self,
        models: model_pb2_grpc.ModelServiceAsyncStub,
        datasets: dataset_pb2_grpc.DatasetServiceAsyncStub,
    ) -> None:
        """Call through these stubs."""
        self._models = models
        self._datasets = datasets

    async def get(self, name: str) -> Source:
        """Read a model version; `.../versions/latest` gives the newest.

        Raises:
            NotFound: there is none.
            DependencyUnavailable: the registry does not answer.
        """
        request = model_pb2.GetModelVersionRequest(name=name)
        async with answered_by("registry"):
            version = (await self._models.GetModelVersion(request, timeout=CALL_SECONDS)).model_version
        return Source(
            name=version.name,
            trainable=version.format == model_pb2.MODEL_FORMAT_KERAS,
            files=[_as_dict(file) for file in version.files],
            dataset_version=next(
                (
                    node.name
                    for node in version.lineage
                    if node.kind == model_pb2.LINEAGE_KIND_DATASET_VERSION
                ),
                "",
            ),
            lineage=[_as_dict(node) for node in (_node(version), *version.lineage)],
        )

    async def manifest(self, dataset_version: str) -> Manifest:
        """Read where the records of a dataset version are.

        Raises:
            NotFound: the version was deleted.
            DependencyUnavailable: the dataset service does not answer.
        """
        request = dataset_pb2.GetDatasetVersionRequest(name=dataset_version)
        async with answered_by("dataset service"):
            response = await self._datasets.GetDatasetVersion(request, timeout=CALL_SECONDS)
        version = response.dataset_version
        return Manifest(key=version.manifest, sha256=version.digest)


def _node(version: model_pb2.ModelVersion) -> model_pb2.LineageNode:
    """The version as a link of the chain of what comes of it."""
    return model_pb2.LineageNode(
        name=version.name,
        kind=model_pb2.LINEAGE_KIND_MODEL_VERSION,
        digest=version.digest,
        parents=version.parents,
    )


def _as_dict(message: model_pb2.LineageNode | model_pb2.ArtifactFile) -> dict[str, Any]:
    document: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    # JSON has 64-bit integers as text.
    return document | (
        {"size_bytes": message.size_bytes} if isinstance(message, model_pb2.ArtifactFile) else {}
    )
