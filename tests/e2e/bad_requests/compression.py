"""Compression jobs of what cannot be compressed."""

import math
from typing import Any

from google.protobuf.message import Message

from lepton.compression.v1 import compression_pb2 as compression
from lepton_common.errors import InvalidField, NotFound, WrongState

from .refusal import PAGE_RULE, Refusals, refusal


def compress(version: str = "models/net/versions/1", **spec: Any) -> Message:
    return compression.CreateCompressionJobRequest(
        compression_job_id="bad",
        compression_job=compression.CompressionJob(
            spec=compression.CompressionSpec(model_version=version, **spec)
        ),
    )


COMPRESSION: Refusals = {
    "an unknown model": refusal(compress("models/nope/versions/1"), NotFound, "'models/nope/versions/1'"),
    "the latest version of an unknown model": refusal(
        compress("models/nope/versions/latest"), NotFound, "'models/nope'"
    ),
    "a model that is compressed already": refusal(
        compress("models/double/versions/1"), WrongState, "models/double/versions/1", "KERAS"
    ),
    "a model of unknown data": refusal(compress(), WrongState, "models/net/versions/1", "dataset version"),
    "a drop of more than everything": refusal(
        compress(max_accuracy_drop=2), InvalidField, "spec.max_accuracy_drop", "1"
    ),
    "a drop of NaN": refusal(compress(max_accuracy_drop=math.nan), InvalidField, "spec.max_accuracy_drop"),
    "a precision that is none": refusal(compress(precisions=[77]), InvalidField, "spec.precisions[0]"),
    "a precision that is left open": refusal(compress(precisions=[0]), InvalidField, "FP32, FP16 or INT8"),
    "an unknown job": refusal(
        compression.GetCompressionJobRequest(name="compressionJobs/nope"), NotFound, "'compressionJobs/nope'"
    ),
    "a page token of no list": refusal(
        compression.ListCompressionJobsRequest(page_token="1 OR 1=1"), InvalidField, "page_token", PAGE_RULE
    ),
}
