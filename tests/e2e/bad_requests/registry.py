"""Model versions and endpoints that cannot be."""

from typing import Any

from google.protobuf.message import Message

from lepton.endpoint.v1 import endpoint_pb2 as endpoint
from lepton.model.v1 import model_pb2 as model
from lepton_common.errors import InUse, InvalidField, NotFound

from .refusal import ID_RULE, PAGE_RULE, SHA, Refusals, refusal

DOUBLE = "models/double/versions/1"


def register(*paths: str, **facts: Any) -> Message:
    files = [model.ArtifactFile(path=path, sha256=SHA, size_bytes=1, key="models/blobs/x") for path in paths]
    version: dict[str, Any] = {"format": model.MODEL_FORMAT_ONNX, "files": files} | facts
    return model.CreateModelVersionRequest(parent="models/bad", model_version=model.ModelVersion(**version))


def serve(targets: dict[str, int], endpoint_id: str = "bad") -> Message:
    named = [endpoint.TrafficTarget(model_version=name, weight=weight) for name, weight in targets.items()]
    return endpoint.CreateEndpointRequest(endpoint_id=endpoint_id, endpoint=endpoint.Endpoint(targets=named))


REGISTRY: Refusals = {
    "an unknown model": refusal(model.GetModelRequest(name="models/nope"), NotFound, "'models/nope'"),
    "an unknown version": refusal(
        model.GetLineageRequest(name="models/double/versions/99"), NotFound, "'models/double/versions/99'"
    ),
    "a file of an unknown version": refusal(
        model.ReadModelFileRequest(name="models/double/versions/99", path="model.onnx"),
        NotFound,
        "'models/double/versions/99'",
    ),
    "a file that no version has": refusal(
        model.ReadModelFileRequest(name=DOUBLE, path="evaluation.json"), NotFound, "'evaluation.json'"
    ),
    "a file to read that climbs": refusal(
        model.ReadModelFileRequest(name=DOUBLE, path="../records.db"), InvalidField, "path"
    ),
    "no files": refusal(register(), InvalidField, "model_version.files", "1"),
    "a file that climbs": refusal(register("../model.onnx"), InvalidField, "files[0].path"),
    "a file of an absolute path": refusal(register("/etc/passwd"), InvalidField, "files[0].path"),
    "a key that climbs": refusal(
        register(files=[model.ArtifactFile(path="model.onnx", sha256=SHA, key="../../etc/passwd")]),
        InvalidField,
        "model_version.files[0].key",
        "object key",
    ),
    "no model among the files": refusal(register("readme.txt"), InvalidField, "'model.onnx'"),
    "one file twice": refusal(
        register("model.onnx", "model.onnx"), InvalidField, "files[1].path", "there twice"
    ),
    "no format": refusal(register("model.onnx", format=0), InvalidField, "KERAS or ONNX"),
    "a format that is none": refusal(register("model.onnx", format=9), InvalidField, "model_version.format"),
    "a model that is served": refusal(
        model.DeleteModelRequest(name="models/double"),
        InUse,
        "'endpoints/double'",
        "'models/double/versions/1'",
    ),
    "an endpoint to a Keras model": refusal(
        serve({"models/net/versions/1": 1}), InvalidField, "models/net/versions/1", "only ONNX is served"
    ),
    "an endpoint to an unknown version": refusal(
        serve({"models/double/versions/99": 1}), NotFound, "'models/double/versions/99'"
    ),
    "an endpoint to nothing": refusal(serve({}), InvalidField, "endpoint.targets", "1"),
    "an endpoint with targets that follows a model too": refusal(
        endpoint.CreateEndpointRequest(
            endpoint_id="bad",
            endpoint=endpoint.Endpoint(
                targets=[endpoint.TrafficTarget(model_version=DOUBLE, weight=1)],
                follow=endpoint.Follow(model="models/double", all=endpoint.AllVersions()),
            ),
        ),
        InvalidField,
        "endpoint.targets",
        "beside `follow`",
    ),
    "an endpoint that follows an unknown model": refusal(
        endpoint.CreateEndpointRequest(
            endpoint_id="bad",
            endpoint=endpoint.Endpoint(
                follow=endpoint.Follow(model="models/nope", all=endpoint.AllVersions())
            ),
        ),
        NotFound,
        "'models/nope' has no version of format ONNX",
    ),
    "an endpoint without traffic": refusal(serve({DOUBLE: 0}), InvalidField, "a weight above 0"),
    "an endpoint with a negative weight": refusal(
        serve({DOUBLE: -1}), InvalidField, "targets[0].weight", "0"
    ),
    "an endpoint to two models": refusal(
        serve({DOUBLE: 1, "models/no-bytes/versions/1": 1}), InvalidField, "another model than models/double"
    ),
    "an endpoint whose id climbs": refusal(serve({DOUBLE: 1}, "../x"), InvalidField, "endpoint_id", ID_RULE),
    "an unknown endpoint": refusal(
        endpoint.GetEndpointRequest(name="endpoints/nope"), NotFound, "'endpoints/nope'"
    ),
    "a page token of no list of models": refusal(
        model.ListModelsRequest(page_token="'; --"), InvalidField, "page_token", PAGE_RULE
    ),
    "a page token of no list of endpoints": refusal(
        endpoint.ListEndpointsRequest(page_token="\x00"), InvalidField, "page_token", PAGE_RULE
    ),
    "a page of millions": refusal(
        model.ListModelsRequest(page_size=10**6), InvalidField, "page_size", "1000"
    ),
}
