"""The stages around every handler: one form for the four kinds of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from lepton_common.errors import InvalidField, Unimplemented
from lepton_common.interceptors.call import Call, Method, Proceed, Stage
from lepton_common.request_id import KEY, REQUEST_ID, accept

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Check = Callable[[Any], None]
Decode = Callable[[bytes], Any]

UNKNOWN = Method(
    service="unknown",
    name="unknown",
    permission=None,
    validate=False,
    endless=False,
    client_streaming=True,
    server_streaming=True,
)
"""Stands for every method that the server does not have, so that made-up names fill no log and no metric."""


class CallChain(grpc.aio.ServerInterceptor):
    """Runs stages around every call, the first one outermost.

    Args:
        methods: what is known of each method, by path.
        stages: what happens around a call.
        check: raises where a request message breaks the rules of its contract.
    """

    def __init__(self, methods: Mapping[str, Method], stages: Sequence[Stage], *, check: Check) -> None:
        self._methods = methods
        self._stages = tuple(stages)
        self._check = check
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Handler:
        """Gives the handler of the method with the stages around it."""
        path: str = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            inner = await continuation(handler_call_details)
            if inner is None:
                return self.refusal()
            handler = self._handlers[path] = self.around(path, inner)
        return handler

    def method(self, path: str) -> Method:
        """What is known of the method at a path."""
        return self._methods[path]

    def refusal(self) -> Handler:
        """The handler of methods that the server does not have."""
        # On the wire a stream of messages is the most general form, so it fits every call.
        return grpc.stream_stream_rpc_method_handler(self._around(UNKNOWN, _refuse, decode=bytes))

    def around(self, path: str, inner: Handler) -> Handler:
        """The handler at a path with the stages around it. It takes bytes, and coroutines that write."""
        method = self._methods[path]
        forms = {
            (False, False): (inner.unary_unary, grpc.unary_unary_rpc_method_handler),
            (False, True): (inner.unary_stream, grpc.unary_stream_rpc_method_handler),
            (True, False): (inner.stream_unary, grpc.stream_unary_rpc_method_handler),
            (True, True): (inner.stream_stream, grpc.stream_stream_rpc_method_handler),
        }
        behaviour, form = forms[bool(inner.request_streaming), bool(inner.response_streaming)]
        # No deserializer: requests are read in here, after the stages let the caller through, and bytes
        # that are no message are refused like any other bad request.
        return form(
            self._around(method, behaviour, decode=inner.request_deserializer or bytes),
            response_serializer=inner.response_serializer,
        )

    def _around(self, method: Method, behaviour: Any, *, decode: Decode) -> Any:
        # A coroutine for streaming responses too (gRPC takes messages by `context.write` there): the
        # stages then begin and end in one task, whatever becomes of the stream.
        async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            call = Call(method=method, context=context, request_id="")
            call.request_id = accept(call.metadata(KEY))
            REQUEST_ID.set(call.request_id)
            context.set_trailing_metadata(((KEY, call.request_id),))
            read = partial(self._read, method, decode)
            proceed: Proceed = partial(_answer, behaviour, request, call, read=read)
            for stage in reversed(self._stages):
                proceed = partial(stage, call, proceed)
            return await proceed()

        return handle

    def _read(self, method: Method, decode: Decode, data: bytes) -> Any:
        try:
            request = decode(data)
        except DecodeError as error:
            raise InvalidField(f"the request is no message that {method.name} takes") from error
        if method.validate:
            self._check(request)
        return request


async def _answer(behaviour: Any, received: Any, call: Call, *, read: Callable[[bytes], Any]) -> Any:
    request = _each(call, received, read) if call.method.client_streaming else read(received)
    answer = behaviour(request, call.context)
    if not isinstance(answer, AsyncGenerator):
        return await answer
    async with aclosing(answer):
        async for response in answer:
            await call.context.write(response)
    return None


async def _each(
    call: Call, received: AsyncIterator[bytes], read: Callable[[bytes], Any]
) -> AsyncIterator[Any]:
    messages = aiter(received)
    while not call.reads_no_more:
        call.reader = task = asyncio.current_task()
        try:
            data = await anext(messages)
        except StopAsyncIteration:
            return
        except asyncio.CancelledError:
            # Cancelled by `end_requests` alone: the handler goes on.
            if not call.reads_no_more or task is None or task.uncancel():
                raise
            break
        finally:
            call.reader = None
        yield read(data)
    call.cut_short = True


async def _refuse(request: Any, context: Any) -> None:
    raise Unimplemented("this server has no such method")
