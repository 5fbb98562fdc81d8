"""Requests that are wrong in every way one could think of, and what the caller is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from inference import grpc_service_pb2 as pb
from lepton_common.errors import InvalidField, LeptonError, NotFound, TensorMismatch, Unimplemented
from lepton_common.status import from_rpc_error, named_errors

if TYPE_CHECKING:
    from inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub as Stub

    from .conftest import InferenceServer, Registry

Models = dict[str, Callable[..., bytes]]
Ask = Callable[..., pb.ModelInferRequest]


@pytest.fixture(scope="module", autouse=True)
def endpoints(registry: Registry, server: InferenceServer, models: Models) -> None:
    """`scaler` with versions 1 (all traffic, doubles) and 2 (none, triples)."""
    double = registry.publish("scaler", models["scaler"](2))
    triple = registry.publish("scaler", models["scaler"](3))
    registry.serve_and_wait("scaler", {double: 1, triple: 0})


def output(response: pb.ModelInferResponse) -> list[float]:
    values: list[float] = np.frombuffer(response.raw_output_contents[0], np.float32).tolist()
    return values


def request(**fields: Any) -> pb.ModelInferRequest:
    """A good request for `scaler` with some fields replaced."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], **fields.pop("tensor", {})}
    return pb.ModelInferRequest(
        **{
            "model_name": "scaler",
            "inputs": [pb.ModelInferRequest.InferInputTensor(**tensor)],
            "raw_input_contents": [bytes(8)],
            **fields,
        }
    )


BAD_REQUESTS = {
    "an unknown model": (request(model_name="nothing"), NotFound, "no endpoint is named 'nothing'"),
    "a path as a model": (request(model_name="../secret"), InvalidField, "not one of an endpoint"),
    "an unknown version": (request(model_version="9"), NotFound, "served are 1, 2"),
    "a version that is no number": (request(model_version="latest"), InvalidField, "no number"),
    "another name": (request(tensor={"name": "z"}), TensorMismatch, "inputs must be 'x', got 'z'"),
    "another datatype": (
        request(tensor={"datatype": "INT32"}),
        TensorMismatch,
        "must be FP32 of shape [-1, 2], got INT32 of shape [1, 2]",
    ),
    "another shape": (
        request(tensor={"shape": [2, 1]}),
        TensorMismatch,
        "must be FP32 of shape [-1, 2], got FP32 of shape [2, 1]",
    ),
    "a datatype that is none": (request(tensor={"datatype": "float"}), TensorMismatch, "unknown datatype"),
    "too few bytes": (request(raw_input_contents=[bytes(7)]), TensorMismatch, "7 bytes"),
    "a shape of 10 GB": (request(tensor={"shape": [1250000000, 2]}), TensorMismatch, "has 8 bytes"),
    "a negative shape": (request(tensor={"shape": [-1, 2]}), TensorMismatch, "must be positive"),
    "no record": (
        request(tensor={"shape": [0, 2]}, raw_input_contents=[b""]),
        TensorMismatch,
        "must be positive",
    ),
    "no inputs": (request(inputs=[], raw_input_contents=[]), TensorMismatch, "got none"),
    "no elements": (request(raw_input_contents=[]), TensorMismatch, "has 0 elements"),
    "raw and typed": (
        request(tensor={"contents": pb.InferTensorContents(fp32_contents=[1, 2])}),
        TensorMismatch,
        "both raw and typed",
    ),
    "typed in the wrong field": (
        request(tensor={"contents": pb.InferTensorContents(fp64_contents=[1, 2])}, raw_input_contents=[]),
        TensorMismatch,
        "go into fp32_contents, not into fp64_contents",
    ),
    "more raw contents than inputs": (
        request(raw_input_contents=[bytes(8), bytes(8)]),
        TensorMismatch,
        "either every input",
    ),
    "an unknown output": (
        request(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="z")]),
        TensorMismatch,
        "outputs are 'y', asked for 'z'",
    ),
    "shared memory": (
        request(tensor={"parameters": {"shared_memory_region": pb.InferParameter(string_param="region")}}),
        Unimplemented,
        "shared memory is off",
    ),
    "a timeout that is text": (
        request(parameters={"timeout": pb.InferParameter(string_param="soon")}),
        InvalidField,
        "microseconds",
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
async def test_a_bad_request_is_refused_in_words(stub: Stub, ask: Ask, case: str) -> None:
    bad, error, says = BAD_REQUESTS[case]
    with pytest.raises(error) as caught, named_errors():
        await stub.ModelInfer(bad)
    assert says in str(caught.value)
    assert output(await stub.ModelInfer(ask("scaler", 1))) == [2, 2], "the service goes on"


async def test_a_request_beyond_the_size_limit_is_refused(stub: Stub, ask: Ask) -> None:
    big = request(tensor={"shape": [9_000_000, 2]}, raw_input_contents=[bytes(72_000_000)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(big)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert output(await stub.ModelInfer(ask("scaler", 1))) == [2, 2]


async def test_a_request_of_many_records_runs_in_batches(stub: Stub, ask: Ask) -> None:
    response = await stub.ModelInfer(ask("scaler", *range(1000)))
    assert output(response)[::2] == [2 * n for n in range(1000)]


async def test_a_timeout_in_the_request_is_kept(stub: Stub, ask: Ask) -> None:
    hasty = ask("scaler", 1)
    hasty.parameters["timeout"].int64_param = 1
    with pytest.raises(LeptonError) as caught, named_errors():
        await stub.ModelInfer(hasty)
    assert caught.value.reason in ("DEADLINE_EXCEEDED", "OVERLOADED")


async def test_errors_carry_their_reason_and_fields(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(request(model_name="No!"))
    error = from_rpc_error(caught.value)
    assert error.reason == "INVALID_FIELD"
    assert [violation.field for violation in error.violations] == ["model_name"]
