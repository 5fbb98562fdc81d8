"""Inference requests and responses: protocol messages to and from arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference import grpc_service_pb2 as pb
from lepton_common.errors import TensorMismatch
from lepton_inference.api.shared_memory import name_place, place_of
from lepton_inference.catalogue import Version
from lepton_inference.classification import check_classes, classify
from lepton_inference.regions import Place, Regions
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


@dataclass(frozen=True)
class Output:
    """An output that a request asks for, as all its scores or as its `classes` highest ones.

    `place` is where it is to go in shared memory; None for into the response.
    """

    name: str
    datatype: str
    classes: int = 0
    place: Place | None = None


def decode_inputs(request: pb.ModelInferRequest, regions: Regions | None) -> list[Tensor]:
    """The tensors of a request: raw, typed, or in shared memory, whose `regions` are None where it is off.

    Raises:
        TensorMismatch: elements, datatype and shape do not fit together.
        LeptonError: what `place_of` raises, and `Regions.read`.
    """
    places = [place_of(tensor.parameters, regions) for tensor in request.inputs]
    if regions is not None:
        regions.check_total(place for place in places if place)
    raw = request.raw_input_contents
    if raw and len(raw) != places.count(None):
        raise TensorMismatch(
            f"{places.count(None)} inputs come with {len(raw)} raw contents; "
            "either every input is sent raw or none is"
        )
    contents = iter(raw)
    tensors = []
    for tensor, place in zip(request.inputs, places, strict=True):
        if place is None and not raw:
            tensors.append(Tensor(tensor.name, tensor.datatype, _typed(tensor)))
            continue
        if tensor.HasField("contents"):
            where = "raw" if place is None else "shared memory"
            raise TensorMismatch(f"tensor {tensor.name!r} has both {where} and typed contents")
        data = next(contents) if regions is None or place is None else regions.read(place)
        array = decode_raw(tensor.name, tensor.datatype, tensor.shape, data=data)
        tensors.append(Tensor(tensor.name, tensor.datatype, array))
    return tensors


def decode_outputs(
    request: pb.ModelInferRequest, signature: Signature, regions: Regions | None
) -> list[Output]:
    """The outputs that a request asks for, all when it names none.

    Raises:
        TensorMismatch: the model does not have one of them, or it cannot be classified.
        LeptonError: what `place_of` raises.
    """
    places = {output.name: place_of(output.parameters, regions) for output in request.outputs}
    counts = {
        output.name: output.parameters[_CLASSIFICATION].int64_param
        for output in request.outputs
        if _CLASSIFICATION in output.parameters
    }
    return [
        Output(
            spec.name,
            spec.datatype,
            classes=check_classes(spec, counts[spec.name]) if spec.name in counts else 0,
            place=places.get(spec.name),
        )
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
    regions: Regions | None,
) -> pb.ModelInferResponse:
    """The response to a request: its outputs raw if its inputs were, typed if they were not.

    Inputs in shared memory are raw. Outputs of a datatype without typed contents make all outputs raw. One
    that goes into shared memory has empty raw contents, so that contents and outputs stay side by side.

    Raises:
        InvalidField: an output is larger than its place in shared memory.
        LeptonError: what `Regions.write` raises.
    """
    response = pb.ModelInferResponse(
        model_name=request.model_name, model_version=version.number, id=request.id
    )
    name_version(response, version)
    typed = any(tensor.HasField("contents") for tensor in request.inputs)
    raw = not typed or any(
        not output.classes and DATATYPES[output.datatype].contents is None for output in outputs
    )
    for output in outputs:
        array, datatype = arrays[output.name], output.datatype
        if output.classes:
            array = classify(array, output.classes, classes=signature.classes, batched=batched)
            datatype = "BYTES"
        tensor = response.outputs.add(name=output.name, datatype=datatype, shape=array.shape)
        data = encode_raw(array, datatype) if raw or output.place else b""
        if regions is not None and output.place is not None:
            regions.write(output.place, data)
            name_place(tensor, output.place, len(data))
            data = b""
        if raw:
            response.raw_output_contents.append(data)
        elif output.place is None:
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
