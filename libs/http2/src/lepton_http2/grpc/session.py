"""One connection of a gRPC server: its events become calls of handlers."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from struct import Struct
from typing import Any, Protocol

from lepton_http2.connection import Connection
from lepton_http2.errors import ErrorCode
from lepton_http2.events import DATA, REQUEST, RESET
from lepton_http2.grpc.call import Call
from lepton_http2.grpc.deadlines import Deadlines
from lepton_http2.grpc.head import Head, HttpRefusal, read_head
from lepton_http2.grpc.methods import Method
from lepton_http2.grpc.options import Options
from lepton_http2.grpc.status import RpcError, StatusCode, http_error_block

__all__ = ["Host", "Session"]

_LOG = logging.getLogger(__name__)
_PREFIX = Struct(">BI")


class Host(Protocol):
    """What carries a session."""

    peer: str
    peer_certificate: dict[str, Any] | None
    deadlines: Deadlines

    def flush_soon(self) -> None:
        """Has what is to be sent written before the loop waits again."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a handler."""


class Session(Connection):
    """A connection whose streams are calls.

    Args:
        methods: by their paths.
        options: what the server allows.
        host: what carries it.
    """

    def __init__(self, methods: Mapping[bytes, Method], options: Options, host: Host) -> None:
        super().__init__(options.limits(), stream_type=Call)
        self.options = options
        self.host = host
        self.flushing = False
        """Whether what is to be sent will be written without anybody asking for it."""
        self.paused = False
        """Whether the transport has more to write than it should."""
        self.buffered_bytes = 0
        """What lies here of requests that no handler has taken."""
        self._methods = methods
        self._max_message_bytes = options.max_message_bytes

    def flush_soon(self) -> None:
        """Has what is to be sent written soon."""
        if not self.flushing:
            self.flushing = True
            self.host.flush_soon()

    def receive(self, data: bytes, now: float) -> None:
        """Takes what was received.

        Args:
            data: the bytes.
            now: of `time.monotonic`.
        """
        call: Any
        for kind, call, payload, ended in self.feed(data):
            if call.closed or call.trailers is not None:
                # It was taken back, or is answered and waits for a window.
                if kind == RESET:
                    call.cancel()
                continue
            try:
                if kind == REQUEST:
                    self._begin(call, now)
                    if ended and not call.answered:
                        self._complete(call)
                elif kind == DATA:
                    direct = call.head.method.direct
                    if ended and direct is not None and call.reassembly is None and len(payload) >= 5:
                        # A whole message in one frame: what most calls are.
                        compressed, size = _PREFIX.unpack_from(payload)
                        if not compressed and size == len(payload) - 5 and size <= self._max_message_bytes:
                            self._answer(call, direct, bytes(payload[5:]))
                            continue
                    call.take(payload)
                    if ended:
                        self._complete(call)
                else:
                    self._complete(call)
            except RpcError as error:
                self._refuse(call, error)

    def lost(self) -> None:
        """The connection is no more."""
        for call in self.abandon():
            assert isinstance(call, Call)
            call.cancel()

    def resume(self) -> None:
        """The transport has written what it had."""
        self.paused = False
        for call in list(self.streams.values()):
            call.drained()

    # The life of a call.

    def _begin(self, call: Call, now: float) -> None:
        head = call.request.meaning
        if head is None:
            try:
                head = call.request.meaning = read_head(call.request, self._methods)
            except HttpRefusal as refusal:
                self._refuse_http(call, refusal)
                return
        assert isinstance(head, Head)
        call.head = head
        if head.timeout_seconds is not None:
            call.deadline = now + head.timeout_seconds
        if head.method.takes_stream:
            self._start(call, self._stream(call) if head.method.stream else self._unary(call))

    def _complete(self, call: Call) -> None:
        """The request has ended."""
        call.check_complete()
        method = call.head.method
        if method.takes_stream:
            return
        if method.direct is not None:
            self._answer(call, method.direct, call.only_message())
            return
        self._start(call, self._stream(call) if method.stream else self._unary(call))

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
            elif call.deadline is not None and not call.answered:
                self.host.deadlines.add(call)

    def _start(self, call: Call, work: Coroutine[Any, Any, None]) -> None:
        call.task = self.host.spawn(work)
        if call.deadline is not None:
            self.host.deadlines.add(call)

    async def _unary(self, call: Call) -> None:
        method = call.head.method
        assert method.answer is not None
        try:
            request = call if method.takes_stream else method.decode(call.only_message())
            reply = await method.answer(call, request)
            call.reply(method.encode(reply))
        except RpcError as error:
            self._refuse(call, error)
        except asyncio.CancelledError:
            call.abort(StatusCode.CANCELLED, "the server ended the call")
            raise
        except Exception:
            self._fail(call)

    async def _stream(self, call: Call) -> None:
        method = call.head.method
        assert method.stream is not None
        try:
            request = call if method.takes_stream else method.decode(call.only_message())
            async for reply in method.stream(call, request):
                await call.send(method.encode(reply))
            call.finish()
        except RpcError as error:
            self._refuse(call, error)
        except asyncio.CancelledError:
            call.abort(StatusCode.CANCELLED, "the server ended the call")
            raise
        except Exception:
            self._fail(call)

    def _refuse(self, call: Call, error: RpcError) -> None:
        call.abort(error.code, error.message, details=error.details, metadata=error.metadata)
        if call.task is not None and call.task is not asyncio.current_task():
            call.cancel()

    def _fail(self, call: Call) -> None:
        """A handler raised what it should not: logged whole, told without its text."""
        _LOG.exception("the handler of %s failed", call.path)
        call.abort(StatusCode.UNKNOWN, "the handler failed")

    def _refuse_http(self, call: Call, refusal: HttpRefusal) -> None:
        fields = [(b"allow", b"POST")] if refusal.status == 405 else []
        block = http_error_block(refusal.status, fields)
        if call.request.method == b"HEAD":
            self.outbound.headers(call, block, end=True)
        else:
            self.outbound.headers(call, block)
            self.outbound.data(call, refusal.message.encode())
            self.outbound.end(call)

    def protest(self, message: str) -> None:
        """Ends the connection for something that the peer left undone."""
        self.abort(ErrorCode.ENHANCE_YOUR_CALM, message)
        self.flush_soon()
