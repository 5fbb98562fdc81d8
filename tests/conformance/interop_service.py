"""`grpc.testing.TestService` on lepton_http2, as the gRPC interoperability tests describe it."""

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

from lepton_http2.grpc import (
    Call,
    Method,
    RpcError,
    StatusCode,
    bidirectional,
    client_streaming,
    direct,
    server_streaming,
    unary,
)

_SERVICE = "/grpc.testing.TestService/"
_INITIAL = "x-grpc-test-echo-initial"
_TRAILING = "x-grpc-test-echo-trailing-bin"
_SERVER_ID = "lepton-http2"


class TestService:
    """The methods, for messages of a generated module.

    Args:
        messages: generated from `protos/interop.proto`.
    """

    __test__ = False

    def __init__(self, messages: ModuleType) -> None:
        self._messages: Any = messages

    def methods(self) -> list[Method]:
        """All methods that the service has."""
        pb = self._messages
        return [
            direct(_SERVICE + "EmptyCall", self.empty_call),
            unary(
                _SERVICE + "UnaryCall",
                self.unary_call,
                decode=pb.SimpleRequest.FromString,
                encode=pb.SimpleResponse.SerializeToString,
            ),
            server_streaming(
                _SERVICE + "StreamingOutputCall",
                self.streaming_output_call,
                decode=pb.StreamingOutputCallRequest.FromString,
                encode=pb.StreamingOutputCallResponse.SerializeToString,
            ),
            client_streaming(
                _SERVICE + "StreamingInputCall",
                self.streaming_input_call,
                decode=pb.StreamingInputCallRequest.FromString,
                encode=pb.StreamingInputCallResponse.SerializeToString,
            ),
            bidirectional(
                _SERVICE + "FullDuplexCall",
                self.full_duplex_call,
                decode=pb.StreamingOutputCallRequest.FromString,
                encode=pb.StreamingOutputCallResponse.SerializeToString,
            ),
        ]

    def empty_call(self, call: Call, request: bytes) -> bytes:
        """Nothing for nothing."""
        return b""

    async def unary_call(self, call: Call, request: Any) -> Any:
        """Answers with a payload of the size that is asked for."""
        _echo_metadata(call)
        _check_compressed(call, request)
        _raise_status(request)
        if request.HasField("response_compressed"):
            call.compress = request.response_compressed.value
        response = self._messages.SimpleResponse(payload=self._payload(request.response_size))
        if request.fill_server_id:
            response.server_id = _SERVER_ID
        return response

    async def streaming_output_call(self, call: Call, request: Any) -> AsyncIterator[Any]:
        """Answers with payloads of the sizes that are asked for."""
        for parameters in request.response_parameters:
            yield await self._output(call, parameters)

    async def streaming_input_call(self, call: Call, requests: AsyncIterator[Any]) -> Any:
        """Adds up the sizes of payloads."""
        size = 0
        async for request in requests:
            _check_compressed(call, request)
            size += len(request.payload.body)
        return self._messages.StreamingInputCallResponse(aggregated_payload_size=size)

    async def full_duplex_call(self, call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Answers each request with payloads of the sizes that are asked for."""
        _echo_metadata(call)
        async for request in requests:
            _raise_status(request)
            for parameters in request.response_parameters:
                yield await self._output(call, parameters)

    async def _output(self, call: Call, parameters: Any) -> Any:
        if parameters.interval_us:
            await asyncio.sleep(parameters.interval_us / 1e6)
        call.compress = parameters.compressed.value
        return self._messages.StreamingOutputCallResponse(payload=self._payload(parameters.size))

    def _payload(self, size: int) -> Any:
        if size < 0:
            raise RpcError(StatusCode.INVALID_ARGUMENT, "a size is negative")
        return self._messages.Payload(body=bytes(size))


def _echo_metadata(call: Call) -> None:
    for name, value in call.metadata:
        if name == _INITIAL:
            call.send_metadata([(name, value)])
        elif name == _TRAILING:
            call.set_trailing_metadata([(name, value)])


def _raise_status(request: Any) -> None:
    if request.response_status.code:
        raise RpcError(request.response_status.code, request.response_status.message)


def _check_compressed(call: Call, request: Any) -> None:
    if request.HasField("expect_compressed") and request.expect_compressed.value != call.was_compressed:
        raise RpcError(StatusCode.INVALID_ARGUMENT, "the message came otherwise than it says")
