"""The methods of a server: which handler answers which path.

    methods = [
        direct("/shop.Prices/Get", get_price),                # def (call, request) -> response | None
        unary("/shop.Orders/Place", place),                   # async def (call, request) -> response
        server_streaming("/shop.Orders/Watch", watch),        # async def (call, request): yield response
        client_streaming("/shop.Orders/Import", take_all),    # async def (call, requests) -> response
        bidirectional("/shop.Desk/Talk", talk),               # async def (call, requests): yield response
    ]

Handlers take and give bytes, or whatever `decode` and `encode` make of them. They raise `RpcError` to end a
call with a status. A method whose path is empty answers every path that no other method has.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lepton_http2.grpc.call import Call

__all__ = ["Method", "bidirectional", "client_streaming", "direct", "server_streaming", "unary"]

ANY_PATH = b""
"""Where a server keeps the method that answers every path that no other one has."""

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


def _as_it_is(message: bytes) -> bytes:
    return message


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """A method, as the functions of this module make it."""

    path: str
    direct: Callable[["Call", bytes], bytes | None] | None = None
    """The handler that is called as soon as the request is whole, in the same turn of the loop."""
    answer: Callable[["Call", Any], Awaitable[Any]] | None = None
    """The handler that gives one response."""
    stream: Callable[["Call", Any], AsyncIterator[Any]] | None = None
    """The handler that gives any number of them."""
    takes_stream: bool = False
    """Whether the handler is given an iterator over requests, rather than one."""
    in_place: bool = False
    """Whether `direct` can do with a view of a large request where it lies, in place of bytes."""
    decode: Decode = _as_it_is
    encode: Encode = _as_it_is


def direct(path: str, handler: Callable[["Call", bytes], bytes | None]) -> Method:
    """A method with one request and one response, answered by a plain function.

    The function must not block. It returns the response, or keeps the call, returns None, and sees to it that
    somebody calls `Call.reply` or `Call.abort` later; `Call.on_cancel` tells it when nobody waits any more.
    """
    return Method(path=path, direct=handler)


def unary(
    path: str,
    handler: Callable[["Call", Any], Awaitable[Any]],
    *,
    first: Callable[["Call", Any], bool] | None = None,
    in_place: bool = False,
    decode: Decode = _as_it_is,
    encode: Encode = _as_it_is,
) -> Method:
    """A method with one request and one response, answered by a coroutine.

    A plain function may be asked `first`. Like that of `direct` it must not block; it keeps the call and
    returns True, or leaves it to the coroutine. Where it is `in_place`, a large request that crossed shared
    memory is given to it as a view of that memory, which is free again when no view is left.
    """
    if first is None:
        return Method(path=path, answer=handler, decode=decode, encode=encode)

    def try_first(call: "Call", message: bytes) -> None:
        if not first(call, message):
            # The same bytes, unless it was given a view.
            call.begin_task(bytes(message))

    return Method(
        path=path, direct=try_first, in_place=in_place, answer=handler, decode=decode, encode=encode
    )


def server_streaming(
    path: str,
    handler: Callable[["Call", Any], AsyncIterator[Any]],
    *,
    decode: Decode = _as_it_is,
    encode: Encode = _as_it_is,
) -> Method:
    """A method with one request and many responses."""
    return Method(path=path, stream=handler, decode=decode, encode=encode)


def client_streaming(
    path: str,
    handler: Callable[["Call", AsyncIterator[Any]], Awaitable[Any]],
    *,
    decode: Decode = _as_it_is,
    encode: Encode = _as_it_is,
) -> Method:
    """A method with many requests and one response."""
    return Method(path=path, answer=handler, takes_stream=True, decode=decode, encode=encode)


def bidirectional(
    path: str,
    handler: Callable[["Call", AsyncIterator[Any]], AsyncIterator[Any]],
    *,
    decode: Decode = _as_it_is,
    encode: Encode = _as_it_is,
) -> Method:
    """A method with many requests and many responses, in any order."""
    return Method(path=path, stream=handler, takes_stream=True, decode=decode, encode=encode)
