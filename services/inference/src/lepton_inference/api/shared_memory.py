"""The shared memory extension: the methods, and what requests say of tensors that are not in them."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import grpc

from inference import grpc_service_pb2 as pb
from lepton_common.errors import FieldViolation, InvalidField, Unimplemented
from lepton_inference.api.refusals import Refusals
from lepton_inference.regions import Place, Region, Regions

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_REGION = "shared_memory_region"
_OFFSET = "shared_memory_offset"
_BYTE_SIZE = "shared_memory_byte_size"


class SharedMemoryServicer(Refusals):
    """Answers for system shared memory, where it is on."""

    def __init__(self, regions: Regions | None) -> None:
        """`regions` is None where shared memory is off."""
        self._regions = regions

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        """The region of this name, or all."""
        regions = _turned_on(self._regions)
        found = [regions.find(request.name)] if request.name else regions.all()
        return pb.SystemSharedMemoryStatusResponse(regions={region.name: _status(region) for region in found})

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Makes a part of an object known."""
        _turned_on(self._regions).register(
            request.name, request.key, offset=request.offset, byte_size=request.byte_size
        )
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forgets the region of this name, or all."""
        regions = _turned_on(self._regions)
        if request.name:
            regions.unregister(request.name)
        else:
            regions.unregister_all()
        return pb.SystemSharedMemoryUnregisterResponse()


def place_of(parameters: Mapping[str, pb.InferParameter], regions: Regions | None) -> Place | None:
    """Where the parameters of a tensor say that it is, or is to go; None for in the message.

    Raises:
        Unimplemented: shared memory is off.
        NotFound: no region has the name.
        InvalidField: they name no part of the region.
    """
    # One without the other is a mistake, which is told.
    if _REGION not in parameters and _BYTE_SIZE not in parameters:
        return None
    regions = _turned_on(regions)
    name = parameters.get(_REGION, pb.InferParameter())
    if name.WhichOneof("parameter_choice") != "string_param":
        raise _invalid(_REGION, "must be the name of a region")
    return regions.place(
        name.string_param,
        offset=_number(parameters, _OFFSET) if _OFFSET in parameters else 0,
        byte_size=_number(parameters, _BYTE_SIZE),
    )


def name_place(tensor: pb.ModelInferResponse.InferOutputTensor, place: Place, byte_size: int) -> None:
    """Tells in a response where an output went, and how many bytes it has."""
    tensor.parameters[_REGION].string_param = place.region.name
    tensor.parameters[_BYTE_SIZE].int64_param = byte_size
    if place.offset:
        tensor.parameters[_OFFSET].int64_param = place.offset


def _turned_on(regions: Regions | None) -> Regions:
    if regions is None:
        raise Unimplemented("shared memory is off on this server: send tensors in the requests")
    return regions


def _number(parameters: Mapping[str, pb.InferParameter], name: str) -> int:
    parameter = parameters.get(name, pb.InferParameter())
    choice = parameter.WhichOneof("parameter_choice")
    if choice not in ("int64_param", "uint64_param"):
        raise _invalid(name, "must be a number of bytes")
    number: int = getattr(parameter, choice)
    return number


def _status(region: Region) -> pb.SystemSharedMemoryStatusResponse.RegionStatus:
    return pb.SystemSharedMemoryStatusResponse.RegionStatus(
        name=region.name, key=region.key, offset=region.offset, byte_size=region.byte_size
    )


def _invalid(parameter: str, rule: str) -> InvalidField:
    return InvalidField(
        f"the parameter {parameter!r} {rule}",
        violations=[FieldViolation(f'parameters["{parameter}"]', rule)],
    )
