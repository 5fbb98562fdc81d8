"""One way to call a method: a deadline on every call, named errors instead of statuses, pages and
streams as iterators."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc
from grpc import aio

from lepton_common.errors import DependencyUnavailable
from lepton_common.rpc import streaming
from lepton_common.status import from_rpc_error

CALL_SECONDS = 60.0
RECONNECT_SECONDS = 60.0

Request = TypeVar("Request")
Response = TypeVar("Response")
Item = TypeVar("Item")


async def call(
    method: aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    seconds: float = CALL_SECONDS,
) -> Response:
    """Call a unary method.

    Raises:
        LeptonError: the class that matches the reason the service gave.
    """
    try:
        # A service that is just being restarted refuses connections for a moment: wait for it.
        return await method(request, timeout=seconds, wait_for_ready=True)
    except aio.AioRpcError as failure:
        raise from_rpc_error(failure) from failure


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
    method: aio.UnaryStreamMultiCallable[Request, Response], request: Request
) -> AsyncIterator[Response]:
    """Follow a Watch stream to its end, across restarts of the service.

    A Watch tells the present state first, so a broken stream is simply opened again.

    Raises:
        LeptonError: the service refused, or stayed away for longer than a minute.
    """
    away_since: float | None = None
    clock = asyncio.get_running_loop().time
    while True:
        try:
            async with streaming(method(request, wait_for_ready=away_since is None)) as responses:
                async for response in responses:
                    away_since = None
                    yield response
                return
        except aio.AioRpcError as failure:
            if failure.code() != grpc.StatusCode.UNAVAILABLE:
                raise from_rpc_error(failure) from failure
            away_since = away_since or clock()
            if clock() - away_since > RECONNECT_SECONDS:
                raise DependencyUnavailable(
                    "the service that runs the job has not answered for a minute; the job itself may go on"
                ) from failure
            await asyncio.sleep(0.5)
