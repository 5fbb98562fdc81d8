"""Predictions from served models, over the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from grpc import aio

from inference import grpc_service_pb2, grpc_service_pb2_grpc
from lepton_common.errors import InvalidField, NotFound, Unimplemented
from lepton_sdk.calls import call

if TYPE_CHECKING:
    from numpy.typing import NDArray

Answer = TypeVar("Answer")

DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""numpy dtype of every datatype of a fixed width."""

LOST_SECONDS = 1.6
"""When an inference server that answers nothing is taken to be lost, and its requests go to another."""

EVERY_OUTPUT: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a served model answered."""

    model_version: str
    """Number of the version that answered."""
    outputs: Mapping[str, NDArray[Any]]
    """Outputs by name; the first axis is the batch."""
    parameters: Mapping[str, str]
    """What the server says of the answer, such as the digest of the model."""


Elsewhere = Callable[[str], Awaitable[aio.Channel | None]]
"""Finds the servers of an endpoint that those asked first do not have; None: there are no others."""


class Inference:
    """Calls of the inference service.

    Args:
        channel: to the servers that are asked first.
        elsewhere: asked about an endpoint that they do not have. What it found is remembered.
    """

    def __init__(self, channel: aio.Channel, elsewhere: Elsewhere | None = None) -> None:
        self._stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._elsewhere = elsewhere
        self._stubs: dict[str, grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub] = {}
        """Of endpoints that were found elsewhere."""

    async def metadata(self, endpoint: str, *, version: str = "") -> grpc_service_pb2.ModelMetadataResponse:
        """Names, datatypes and shapes of what the endpoint takes and gives."""
        request = grpc_service_pb2.ModelMetadataRequest(name=endpoint, version=version)
        return await self._ask(endpoint, lambda stub: call(stub.ModelMetadata, request))

    async def predict(
        self,
        endpoint: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Mapping[str, int] = EVERY_OUTPUT,
        version: str = "",
        sequence_key: str = "",
        seconds: float = 60.0,
    ) -> Prediction:
        """Ask the endpoint of this id.

        Args:
            endpoint: id of the endpoint.
            inputs: arrays by input name; the first axis is the batch. Arrays of text become BYTES.
            outputs: names of the outputs to give; empty: all. One with a number above 0 comes as that many
                of its likeliest classes, texts `score:index:label` of shape [batch, number].
            version: number of the version to ask; empty lets the endpoint's weights decide.
            sequence_key: who asks: requests of one key go to one version, while several share the traffic.
            seconds: how long to wait.

        Raises:
            TensorMismatch: names, datatypes or shapes are not the model's.
        """
        request = encode(endpoint, inputs, outputs=outputs, version=version)
        if sequence_key:
            request.parameters["sequence_key"].string_param = sequence_key
        return decode(await self._ask(endpoint, lambda stub: call(stub.ModelInfer, request, seconds=seconds)))

    async def _ask(
        self,
        endpoint: str,
        ask: Callable[[grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub], Awaitable[Answer]],
    ) -> Answer:
        """Ask the servers that have the endpoint: those of its pool, if the others do not know it."""
        try:
            return await ask(self._stubs.get(endpoint, self._stub))
        except NotFound:
            channel = await self._elsewhere(endpoint) if self._elsewhere else None
            if channel is None:
                raise
        self._stubs[endpoint] = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return await ask(self._stubs[endpoint])


def encode(
    endpoint: str,
    inputs: Mapping[str, NDArray[Any]],
    *,
    outputs: Mapping[str, int] = EVERY_OUTPUT,
    version: str = "",
) -> grpc_service_pb2.ModelInferRequest:
    """The request of a prediction, tensors as raw little-endian bytes."""
    request = grpc_service_pb2.ModelInferRequest(model_name=endpoint, model_version=version)
    for name, array in inputs.items():
        datatype, raw = _raw(name, array)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(raw)
    for name, classes in outputs.items():
        output = request.outputs.add(name=name)
        if classes:
            output.parameters["classification"].int64_param = classes
    return request


def decode(response: grpc_service_pb2.ModelInferResponse) -> Prediction:
    """The prediction in a response. BYTES become texts; what is no UTF-8 in them is kept as surrogates."""
    import numpy as np

    outputs: dict[str, NDArray[Any]] = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            outputs[output.name] = np.array(_texts(raw), dtype=object).reshape(output.shape)
        elif output.datatype in DATATYPES:
            flat = np.frombuffer(raw, dtype=np.dtype(DATATYPES[output.datatype]).newbyteorder("<"))
            outputs[output.name] = flat.reshape(output.shape)
        else:
            raise Unimplemented(f"output {output.name!r} is {output.datatype}, for which numpy has no dtype")
    parameters = {
        name: str(getattr(value, value.WhichOneof("parameter_choice") or "string_param"))
        for name, value in response.parameters.items()
    }
    return Prediction(model_version=response.model_version, outputs=outputs, parameters=parameters)


def _raw(name: str, array: NDArray[Any]) -> tuple[str, bytes]:
    import numpy as np

    if array.dtype.kind in "OSU":
        texts = [_bytes(value) for value in array.reshape(-1)]
        return "BYTES", b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    for datatype, dtype in DATATYPES.items():
        if array.dtype.newbyteorder("=") == np.dtype(dtype):
            return datatype, np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
    raise InvalidField(f"input {name!r} is of dtype {array.dtype}, which the protocol cannot carry")


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


def _texts(raw: bytes) -> list[str]:
    texts, place = [], 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        texts.append(raw[place + 4 : place + 4 + length].decode(errors="surrogateescape"))
        place += 4 + length
    return texts
