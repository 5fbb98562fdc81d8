"""Trained models, on their way to the model service."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import ParseDict

from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_trainer.adapters.calls import CALL_SECONDS, answered_by
from lepton_trainer.lineage import Node


class Models:
    """Registers model versions."""

    def __init__(self, stub: "model_pb2_grpc.ModelServiceAsyncStub") -> None:
        """Call through `stub`."""
        self._stub = stub

    async def register(
        self, model: str, output: Mapping[str, Any], *, lineage: Sequence[Node], request_id: str
    ) -> str:
        """Register what a worker made as the next version of `model`; return the version's name.

        Args:
            model: `models/{model}`, made if it is not there.
            output: The worker's: `files`, `signature` and `metrics`.
            lineage: Where it came from, nearest first.
            request_id: With the same one the same version is returned.

        Raises:
            DependencyUnavailable: The model service does not answer.
        """
        version = model_pb2.ModelVersion(
            format=model_pb2.MODEL_FORMAT_KERAS,
            files=[ParseDict(dict(file), model_pb2.ArtifactFile()) for file in output["files"]],
            signature=ParseDict(dict(output["signature"]), model_pb2.Signature()),
            metrics=output["metrics"],
            lineage=[_encode(node) for node in lineage],
            parents=[lineage[0].name],
        )
        request = model_pb2.CreateModelVersionRequest(
            parent=model, model_version=version, request_id=request_id
        )
        async with answered_by("model service"):
            response = await self._stub.CreateModelVersion(request, timeout=CALL_SECONDS)
        return response.model_version.name


def _encode(node: Node) -> model_pb2.LineageNode:
    return model_pb2.LineageNode(
        name=node.name,
        kind=model_pb2.LineageKind.Value(f"LINEAGE_KIND_{node.kind}"),
        digest=node.digest,
        parents=node.parents,
    )
