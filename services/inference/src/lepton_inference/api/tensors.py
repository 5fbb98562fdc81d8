"""Inference requests and responses: protocol messages to and from arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference import grpc_service_pb2 as pb
from lepton_common.errors import TensorMismatch, Unimplemented
from lepton_inference.catalogue import Version
from lepton_inference.classification import check_classes, classify
from lepton_inference.signature import Signature, Tensor, check_outputs
from lepton_inference.tensors import (
    DATATYPES,
    Array,
    datatype_of,
    decode_contents,
    decode_raw,
    encode_contents,
    encode_raw,
)

_CLASSIFICATION = "classification"
_SHARED_MEMORY = "shared_memory_region"


@dataclass(frozen=True)
class Output:
    """An output that a request asks for, as all its scores or as its `classes` highest ones."""

    name: str
    datatype: str
    classes: int = 0


def decode_inputs(request: pb.ModelInferRequest) -> list[Tensor]:
    """The tensors of a request, raw or typed.

    Raises:
        TensorMismatch: elements, datatype and shape do not fit together.
        Unimplemented: the elements are in shared memory.
    """
    for tensor in request.inputs:
        _refuse_shared_memory(tensor.parameters)
    if not request.raw_input_contents:
        return [Tensor(tensor.name, tensor.datatype, _typed(tensor)) for tensor in request.inputs]
    if len(request.raw_input_contents) != len(request.inputs):
        raise TensorMismatch(
            f"{len(request.inputs)} inputs come with {len(request.raw_input_contents)} raw contents; "
            "either every input is sent raw or none is"
        )
    tensors = []
    for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.HasField("contents"):
            raise TensorMismatch(f"tensor {tensor.name!r} has both raw and typed contents")
        array = decode_raw(tensor.name, tensor.datatype, tensor.shape, data=data)
        tensors.append(Tensor(tensor.name, tensor.datatype, array))
    return tensors


def decode_outputs(request: pb.ModelInferRequest, signature: Signature) -> list[Output]:
    """The outputs that a request asks for, all when it names none.

    Raises:
        TensorMismatch: the model does not have one of them, or it cannot be classified.
        Unimplemented: they are to go to shared memory.
    """
    for output in request.outputs:
        _refuse_shared_memory(output.parameters)
    counts = {
        output.name: output.parameters[_CLASSIFICATION].int64_param
        for output in request.outputs
        if _CLASSIFICATION in output.parameters
    }
    return [
        Output(spec.name, spec.datatype, check_classes(spec, counts[spec.name]) if spec.name in counts else 0)
        for spec in check_outputs(signature, [output.name for output in request.outputs])
    ]


def encode_response(
    request: pb.ModelInferRequest,
    arrays: Mapping[str, Array],
    *,
    outputs: list[Output],
    version: Version,
    signature: Signature,
    batched: bool,
) -> pb.ModelInferResponse:
    """The response to a request: its outputs raw if its inputs were, typed if they were not.

    Outputs of a datatype without typed contents make all outputs raw.
    """
    response = pb.ModelInferResponse(
        model_name=request.model_name, model_version=version.number, id=request.id
    )
    name_version(response, version)
    raw = bool(request.raw_input_contents) or any(
        not output.classes and DATATYPES[output.datatype].contents is None for output in outputs
    )
    for output in outputs:
        array, datatype = arrays[output.name], output.datatype
        if output.classes:
            array = classify(array, output.classes, classes=signature.classes, batched=batched)
            datatype = "BYTES"
        tensor = response.outputs.add(name=output.name, datatype=datatype, shape=array.shape)
        if raw:
            response.raw_output_contents.append(encode_raw(array, datatype))
        else:
            field: Any = getattr(tensor.contents, DATATYPES[datatype].contents or "")
            field.extend(encode_contents(array, datatype))
    return response


def name_version(response: pb.ModelInferResponse, version: Version) -> None:
    """Tells in a response which version answered, and its digest."""
    response.parameters["lepton_model_version"].string_param = version.name
    response.parameters["lepton_model_digest"].string_param = version.digest


def _typed(tensor: pb.ModelInferRequest.InferInputTensor) -> Array:
    field = datatype_of(tensor.name, tensor.datatype).contents
    filled = {descriptor.name for descriptor, _ in tensor.contents.ListFields()}
    if filled - {field}:
        raise TensorMismatch(
            f"tensor {tensor.name!r} is {tensor.datatype}, whose elements go into "
            f"{field or 'raw_input_contents'}, not into {', '.join(sorted(filled))}"
        )
    values = getattr(tensor.contents, field) if field else ()
    return decode_contents(tensor.name, tensor.datatype, tensor.shape, values=values)


def _refuse_shared_memory(parameters: Mapping[str, pb.InferParameter]) -> None:
    if _SHARED_MEMORY in parameters:
        raise Unimplemented("shared memory is off on this server: send tensors in the request")
