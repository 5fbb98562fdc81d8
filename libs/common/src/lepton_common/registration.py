"""Registering what a job made: from a worker's output to a model version in the registry.

Every job that makes a model ends here, in the same way: under the job's key as request id, so that however
often it is tried, one version comes of one job.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.status import named_errors

REGISTER_SECONDS = 30.0


async def register(
    channel: grpc.aio.Channel,
    model: str,
    output: Mapping[str, Any],
    *,
    model_format: model_pb2.ModelFormat.ValueType,
    job: str,
    lineage: Sequence[model_pb2.LineageNode],
    labels: Mapping[str, str] | None = None,
) -> model_pb2.ModelVersion:
    """Register a worker's output as the next version of a model.

    Args:
        channel: to the registry.
        model: `models/{model}`; made if it is not there.
        output: with `files` (path, sha256, size_bytes, key), `signature` and `metrics`.
        model_format: how the files are to be read.
        job: key of the job that made it, unique over all time.
        lineage: where it came from, nearest first; the first node is what made it.
        labels: of the version.

    Raises:
        DependencyUnavailable: the registry does not answer.
    """
    version = model_pb2.ModelVersion(
        format=model_format,
        files=[model_pb2.ArtifactFile(**file) for file in output["files"]],
        signature=signature(output["signature"]),
        metrics=output.get("metrics", {}),
        lineage=lineage,
        parents=[lineage[0].name] if lineage else [],
        labels=labels or {},
    )
    request = model_pb2.CreateModelVersionRequest(
        parent=model,
        model_version=version,
        # Job keys are longer than a request id may be.
        request_id=hashlib.sha256(job.encode()).hexdigest()[:40],
    )
    with named_errors():
        stub = model_pb2_grpc.ModelServiceStub(channel)
        response = await stub.CreateModelVersion(request, timeout=REGISTER_SECONDS)
    return response.model_version


def signature(document: Mapping[str, Any]) -> model_pb2.Signature:
    """The signature in a worker's output: `inputs` and `outputs` of name, datatype and shape; `classes`."""
    return model_pb2.Signature(
        inputs=[model_pb2.TensorSignature(**tensor) for tensor in document["inputs"]],
        outputs=[model_pb2.TensorSignature(**tensor) for tensor in document["outputs"]],
        classes=document.get("classes", []),
    )
