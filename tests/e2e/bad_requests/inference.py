"""Inference requests that are not what the model takes."""

from typing import Any

from google.protobuf.message import Message

from inference import grpc_service_pb2 as inference
from lepton_common.errors import InvalidField, NotFound, TensorMismatch, Unimplemented, WrongState

from .refusal import Refusals, refusal


def infer(**facts: Any) -> Message:
    """A good request of the model `double`, which takes FP32 `x` [-1, 2], less what is given."""
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 2]} | facts.pop("x", {})
    fields: dict[str, Any] = {"model_name": "double", "raw_input_contents": [bytes(8)]} | facts
    fields.setdefault("inputs", [inference.ModelInferRequest.InferInputTensor(**tensor)])
    return inference.ModelInferRequest(**fields)


def tensors(*names: str) -> list[inference.ModelInferRequest.InferInputTensor]:
    return [
        inference.ModelInferRequest.InferInputTensor(name=name, datatype="FP32", shape=[1, 2])
        for name in names
    ]


INFERENCE: Refusals = {
    "an unknown model": refusal(infer(model_name="nope"), NotFound, "'nope'"),
    "a model that climbs": refusal(infer(model_name="../x"), InvalidField, "model_name", "must match"),
    "an unknown version": refusal(
        infer(model_version="9"), NotFound, "version 9 of 'double'", "served are 1"
    ),
    "a version that is no number": refusal(
        infer(model_version="../1"), InvalidField, "model_version", "must be empty"
    ),
    "a model that could not be loaded": refusal(
        infer(model_name="bytes-that-are-no-model"), WrongState, "could not be loaded", "model.onnx"
    ),
    "no input": refusal(
        infer(inputs=[], raw_input_contents=[]), TensorMismatch, "inputs must be 'x'", "got none"
    ),
    "an input of another name": refusal(
        infer(x={"name": "z"}), TensorMismatch, "inputs must be 'x'", "got 'z'"
    ),
    "an input too many": refusal(
        infer(inputs=tensors("x", "z"), raw_input_contents=[bytes(8)] * 2),
        TensorMismatch,
        "inputs must be 'x'",
        "'z'",
    ),
    "an input twice": refusal(
        infer(inputs=tensors("x", "x"), raw_input_contents=[bytes(8)] * 2), TensorMismatch, "twice"
    ),
    "the wrong dtype": refusal(
        infer(x={"datatype": "INT32"}),
        TensorMismatch,
        "must be FP32 of shape [-1, 2], got INT32 of shape [1, 2]",
    ),
    "a dtype that is none": refusal(
        infer(x={"datatype": "float32"}), TensorMismatch, "'float32'", "known are", "FP32"
    ),
    "the wrong shape": refusal(
        infer(x={"shape": [2, 1]}), TensorMismatch, "must be FP32 of shape [-1, 2], got FP32 of shape [2, 1]"
    ),
    "a shape of another rank": refusal(
        infer(x={"shape": [2]}), TensorMismatch, "[-1, 2]", "got FP32 of shape [2]"
    ),
    "a negative shape": refusal(infer(x={"shape": [-1, -2]}), TensorMismatch, "[-1, -2]", "must be positive"),
    "no records": refusal(
        infer(x={"shape": [0, 2]}, raw_input_contents=[b""]), TensorMismatch, "must be positive"
    ),
    "a shape of 10 GB": refusal(
        infer(x={"shape": [1250000000, 2]}), TensorMismatch, "'x' has 8 bytes", "10000000000"
    ),
    "a shape beyond 64 bits": refusal(
        infer(x={"shape": [2**62, 2**62, 2**62]}), TensorMismatch, "'x' has 8 bytes"
    ),
    "bytes that fill no element": refusal(
        infer(raw_input_contents=[bytes(7)]), TensorMismatch, "7 bytes", "has 8"
    ),
    "raw bytes for some inputs": refusal(
        infer(inputs=tensors("x", "z")), TensorMismatch, "either every input is sent raw or none is"
    ),
    "raw and typed elements": refusal(
        infer(x={"contents": inference.InferTensorContents(fp32_contents=[1, 2])}),
        TensorMismatch,
        "both raw and typed",
    ),
    "typed elements of another type": refusal(
        infer(x={"contents": inference.InferTensorContents(fp64_contents=[1, 2])}, raw_input_contents=[]),
        TensorMismatch,
        "go into fp32_contents",
    ),
    "text with a length of 4 GB": refusal(
        infer(x={"datatype": "BYTES", "shape": [1]}, raw_input_contents=[b"\xff\xff\xff\xff"]),
        TensorMismatch,
        "claims 4294967295 bytes",
    ),
    "text that is not UTF-8": refusal(
        infer(x={"datatype": "BYTES", "shape": [1]}, raw_input_contents=[b"\x01\x00\x00\x00\xff"]),
        TensorMismatch,
        "not UTF-8",
    ),
    "an unknown output": refusal(
        infer(outputs=[inference.ModelInferRequest.InferRequestedOutputTensor(name="z")]),
        TensorMismatch,
        "outputs are 'y'",
        "'z'",
    ),
    "shared memory": refusal(
        infer(x={"parameters": {"shared_memory_region": inference.InferParameter(string_param="/dev/mem")}}),
        Unimplemented,
        "send tensors in the request",
    ),
    "a timeout that is text": refusal(
        infer(parameters={"timeout": inference.InferParameter(string_param="soon")}),
        InvalidField,
        "'timeout'",
        "microseconds",
    ),
    "files from the caller": refusal(
        inference.RepositoryModelLoadRequest(
            model_name="double",
            parameters={"file:1/model.onnx": inference.ModelRepositoryParameter(bytes_param=b"x")},
        ),
        InvalidField,
        "parameters",
        "must be empty",
    ),
    "metadata of an unknown model": refusal(inference.ModelMetadataRequest(name="nope"), NotFound, "'nope'"),
}
