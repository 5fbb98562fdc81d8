"""Handlers at work: whatever brought a call, its method answers it in the same way."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, Protocol

from lepton_http2.grpc.call import Call
from lepton_http2.grpc.deadlines import Deadlines
from lepton_http2.grpc.status import RpcError, StatusCode

__all__ = ["Handling", "Host"]

_LOG = logging.getLogger(__name__)

# Before a stream of requests is refused, its caller may send so long: clients of gRPC's own library that meet
# the answer while they send report a fault of their own in place of the status.
_HEARD_OUT_SECONDS = 0.02


class Host(Protocol):
    """What carries a session."""

    peer: str
    peer_certificate: dict[str, Any] | None
    deadlines: Deadlines

    def flush(self) -> None:
        """Writes what is to be sent."""

    def flush_soon(self) -> None:
        """Has it written before the loop waits again."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a handler."""


class Handling:
    """What a connection does with a call and the handler of its method."""

    def _answer(self, call: Call, direct: Any, message: bytes) -> None:
        try:
            reply = direct(call, message)
        except RpcError as error:
            self._refuse(call, error)
        except Exception:
            self._fail(call)
        else:
            if reply is not None:
                call.reply(reply)

    async def run(self, call: Call, message: bytes | None = None) -> None:
        """A coroutine answers a call, whose message may have been taken before."""
        method = call.head.method
        try:
            if method.takes_stream:
                request: Any = call
            else:
                request = call.decode(await call.whole_message() if message is None else message)
            if method.answer is not None:
                call.reply(method.encode(await method.answer(call, request)))
            elif method.stream is not None:
                await self._send_all(call, method.stream(call, request))
        except RpcError as error:
            if method.takes_stream:
                await call.heard_out(_HEARD_OUT_SECONDS)
            self._refuse(call, error)
        except asyncio.CancelledError:
            call.abort(StatusCode.UNAVAILABLE, "the server ended the call")
            raise
        except Exception:
            self._fail(call)

    async def _send_all(self, call: Call, replies: AsyncIterator[Any]) -> None:
        try:
            async for reply in replies:
                await call.send(call.head.method.encode(reply))
            call.finish()
        finally:
            if isinstance(replies, AsyncGenerator):
                await replies.aclose()

    def _refuse(self, call: Call, error: RpcError) -> None:
        call.abort(error.code, error.message, details=error.details, metadata=error.metadata)
        if call.task is not None and call.task is not asyncio.current_task():
            call.cancel()

    def _fail(self, call: Call) -> None:
        """A handler raised what it should not: logged whole, told without its text."""
        _LOG.exception("the handler of %s failed", call.path)
        call.abort(StatusCode.UNKNOWN, "the handler failed")
