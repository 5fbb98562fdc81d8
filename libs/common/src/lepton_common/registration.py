"""Registering what a job made: from a worker's output to a model version in the registry.

Every job that makes a model ends here, in the same way. The job's uid is the request id, so that however
often it is tried, one version comes of one job.
"""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import ParseDict

from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.calls import CALL_SECONDS, answered_by


async def register(
    models: model_pb2_grpc.ModelServiceAsyncStub,
    output: Mapping[str, Any],
    *,
    model: str,
    model_format: model_pb2.ModelFormat.ValueType,
    lineage: Sequence[model_pb2.LineageNode],
    request_id: str,
) -> str:
    """Register a worker's output as the next version of a model; return the version's name.

    Args:
        models: the registry.
        output: the worker's: `files`, `signature` and `metrics`.
        model: `models/{model}`, made if it is not there.
        model_format: how the files are to be read.
        lineage: where it came from, nearest first; the first node is what made it.
        request_id: with the same one the same version is returned.

    Raises:
        DependencyUnavailable: the registry does not answer.
    """
    version = model_pb2.ModelVersion(
        format=model_format,
        files=[ParseDict(dict(file), model_pb2.ArtifactFile()) for file in output["files"]],
        signature=ParseDict(dict(output["signature"]), model_pb2.Signature()),
        metrics=output["metrics"],
        lineage=lineage,
        parents=[lineage[0].name],
    )
    request = model_pb2.CreateModelVersionRequest(parent=model, model_version=version, request_id=request_id)
    async with answered_by("registry"):
        response = await models.CreateModelVersion(request, timeout=CALL_SECONDS)
    return response.model_version.name
