"""One way to call a method: a deadline on every call, named errors instead of statuses, pages and
streams as iterators, and patience with a service that is being restarted."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import grpc
from grpc import aio

from lepton_common.errors import DependencyUnavailable, LeptonError, ShuttingDown
from lepton_common.rpc import streaming
from lepton_common.status import DETAILS_KEY, from_rpc_error

CALL_SECONDS = 60.0
RESTART_SECONDS = 15.0
"""How long a call is made again while nobody answers: a service that is restarted is back by then."""
RECONNECT_SECONDS = 60.0
"""The same for what has begun already: a job that is followed, a file that is half there."""
PAUSE_SECONDS = 0.5

Request = TypeVar("Request")
Response = TypeVar("Response")
Item = TypeVar("Item")


async def call(
    method: aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    seconds: float = CALL_SECONDS,
) -> Response:
    """Call a unary method; each attempt has `seconds` to answer.

    Raises:
        LeptonError: the class that matches the reason the service gave; DependencyUnavailable if none
            answers.
    """

    async def attempt() -> Response:
        return await method(request, timeout=seconds)

    return await _patiently(attempt)


async def collect(
    method: aio.UnaryStreamMultiCallable[Request, Response],
    request: Request,
    *,
    seconds: float = CALL_SECONDS,
) -> list[Response]:
    """All responses of a stream that is short enough to begin it anew when it breaks.

    Raises:
        LeptonError: as `call`.
    """

    async def attempt() -> list[Response]:
        async with streaming(method(request, timeout=seconds)) as responses:
            return [response async for response in responses]

    return await _patiently(attempt)


async def _patiently(attempt: Callable[[], Awaitable[Item]]) -> Item:
    """Make an attempt, again and again while nobody answers."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        try:
            return await attempt()
        except aio.AioRpcError as failure:
            if not is_away(failure) or clock() - began > RESTART_SECONDS:
                raise named(failure) from failure
        await asyncio.sleep(PAUSE_SECONDS)


async def pages(
    fetch: Callable[[str], Awaitable[tuple[list[Item], str]]],
) -> list[Item]:
    """All items of a paged listing; `fetch` takes a page token and gives items and the next token."""
    items: list[Item] = []
    token = ""
    while True:
        page, token = await fetch(token)
        items += page
        if not token:
            return items


async def watch(
    method: aio.UnaryStreamMultiCallable[Request, Response],
    request: Request,
    read: Callable[[Response], Item],
) -> AsyncGenerator[Item, None]:
    """Follow a Watch stream to its end, across restarts of the service; `read` takes the item out of a
    response.

    A Watch tells the present state first, so a broken stream is simply opened again. Closing the iterator
    ends the stream on the server too.

    Raises:
        LeptonError: the service refused; DependencyUnavailable if it stayed away.
    """
    away_since: float | None = None
    patience = RESTART_SECONDS
    clock = asyncio.get_running_loop().time
    while True:
        try:
            async with streaming(method(request)) as responses:
                async for response in responses:
                    away_since, patience = None, RECONNECT_SECONDS
                    yield read(response)
                return
        except aio.AioRpcError as failure:
            away_since = away_since or clock()
            if failure.code() != grpc.StatusCode.UNAVAILABLE or clock() - away_since > patience:
                raise named(failure) from failure
        await asyncio.sleep(PAUSE_SECONDS)


def is_away(failure: aio.AioRpcError) -> bool:
    """Whether nobody answered, or only to say goodbye: the same call may be answered in a moment."""
    if is_answer(failure):
        return isinstance(from_rpc_error(failure), ShuttingDown)
    # Cancelled, and not by us: gRPC cuts off what comes while it shuts down.
    return failure.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def named(failure: aio.AioRpcError) -> LeptonError:
    """The named error for a failed call."""
    if failure.code() == grpc.StatusCode.UNAVAILABLE and not is_answer(failure):
        return DependencyUnavailable(f"no answer from the service: {failure.details()}")
    return from_rpc_error(failure)


def is_answer(failure: aio.AioRpcError) -> bool:
    """Whether a service has said so: it sends details with every refusal, and what gRPC itself reports has
    none."""
    return any(key == DETAILS_KEY for key, _ in failure.trailing_metadata() or ())
