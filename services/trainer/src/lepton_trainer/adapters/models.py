"""Model versions: those to begin with, as the registry tells of them, and those that were trained."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.calls import CALL_SECONDS, answered_by
from lepton_common.registration import register
from lepton_trainer.base import BaseModel
from lepton_trainer.lineage import Node


class Models:
    """Reads model versions, and registers them."""

    def __init__(self, stub: model_pb2_grpc.ModelServiceAsyncStub) -> None:
        """Call through `stub`."""
        self._stub = stub

    async def get(self, name: str) -> BaseModel:
        """Read a version; `.../versions/latest` gives the newest.

        Raises:
            NotFound: There is none.
            DependencyUnavailable: The registry does not answer.
        """
        request = model_pb2.GetModelVersionRequest(name=name)
        async with answered_by("registry"):
            version = (await self._stub.GetModelVersion(request, timeout=CALL_SECONDS)).model_version
        itself = Node(
            name=version.name, kind="MODEL_VERSION", digest=version.digest, parents=tuple(version.parents)
        )
        return BaseModel(
            name=version.name,
            trainable=version.format == model_pb2.MODEL_FORMAT_KERAS,
            files=[
                {"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes, "key": file.key}
                for file in version.files
            ],
            lineage=[itself, *(decode_node(node) for node in version.lineage)],
        )

    async def register(
        self, output: Mapping[str, Any], *, model: str, lineage: Sequence[Node], request_id: str
    ) -> str:
        """Register what a worker has trained; return the version's name.

        Args:
            output: The worker's.
            model: `models/{model}`.
            lineage: Where it came from, nearest first.
            request_id: With the same one the same version is returned.

        Raises:
            DependencyUnavailable: The registry does not answer.
        """
        return await register(
            self._stub,
            output,
            model=model,
            model_format=model_pb2.MODEL_FORMAT_KERAS,
            lineage=[encode_node(node) for node in lineage],
            request_id=request_id,
        )


def decode_node(node: model_pb2.LineageNode) -> Node:
    """Decode a link of a chain of lineage."""
    privacy = {"epsilon": node.privacy.epsilon, "delta": node.privacy.delta}
    return Node.from_dict(
        {
            "name": node.name,
            "kind": model_pb2.LineageKind.Name(node.kind).removeprefix("LINEAGE_KIND_"),
            "digest": node.digest,
            "parents": node.parents,
            "privacy": privacy if node.HasField("privacy") else None,
        }
    )


def encode_node(node: Node) -> model_pb2.LineageNode:
    """Encode a link of a chain of lineage."""
    encoded = model_pb2.LineageNode(
        name=node.name,
        kind=model_pb2.LineageKind.Value(f"LINEAGE_KIND_{node.kind}"),
        digest=node.digest,
        parents=node.parents,
    )
    if node.privacy is not None:
        encoded.privacy.epsilon, encoded.privacy.delta = node.privacy.epsilon, node.privacy.delta
    return encoded
