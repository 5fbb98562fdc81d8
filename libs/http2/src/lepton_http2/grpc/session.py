"""One connection of a gRPC server: its events become calls of handlers."""

from collections.abc import Mapping
from typing import Any, cast

from lepton_http2.connection import Connection
from lepton_http2.errors import ErrorCode
from lepton_http2.events import DATA, REQUEST, RESET
from lepton_http2.grpc.call import Call
from lepton_http2.grpc.handling import Handling, Host
from lepton_http2.grpc.head import Head, HttpRefusal, read_head
from lepton_http2.grpc.messages import PREFIX_BYTES, read_prefix
from lepton_http2.grpc.methods import Method
from lepton_http2.grpc.options import Options
from lepton_http2.grpc.status import RpcError, StatusCode, http_error_block

__all__ = ["Session"]


class Session(Connection, Handling):
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
        self.unflushed_bytes = 0
        """What streaming handlers have sent since the last write."""
        self.paused = False
        """Whether the transport has more to write than it should."""
        self.buffered_bytes = 0
        """What lies here of requests that no handler has taken."""
        self._methods = methods
        self._default_timeout = options.default_timeout_seconds or None
        # Calls with a deadline that began in this turn.
        self._limited: list[Call] = []

    def flush_soon(self) -> None:
        """Has what is to be sent written soon."""
        if not self.flushing:
            self.flushing = True
            self.host.flush_soon()

    # Every call counts here too: the usual events are taken in line.
    def receive(self, data: bytes, now: float) -> bool:  # noqa: C901
        """Takes what was received.

        Args:
            data: the bytes.
            now: of `time.monotonic`.

        Returns:
            Whether anything came of it.
        """
        call: Any
        limit = self.options.max_message_bytes
        events = self.feed(data)
        for kind, call, payload, ended in events:
            if call.closed or call.trailers is not None:
                # It was taken back, or is answered and waits for a window.
                if kind == RESET:
                    call.cancel()
                continue
            if kind == DATA and ended and call.reassembly is None and len(payload) >= PREFIX_BYTES:
                direct = call.head.method.direct
                compressed, size = read_prefix(payload)
                if direct and not compressed and size == len(payload) - PREFIX_BYTES and size <= limit:
                    # A whole request in one frame, for a function: what most calls are.
                    self._answer(call, direct, bytes(payload[PREFIX_BYTES:]))
                    continue
            try:
                if kind == REQUEST:
                    self._begin(call, now)
                elif kind == DATA:
                    call.take(payload)
                if ended and not call.answered:
                    self._complete(call)
            except RpcError as error:
                self._refuse(call, error)
        if self._limited:
            self.host.deadlines.add_soon([call for call in self._limited if not call.closed])
            self._limited.clear()
        return bool(events)

    def lost(self) -> None:
        """The connection is no more."""
        for call in self.abandon():
            assert isinstance(call, Call)
            call.cancel()

    def give_up(self) -> None:
        """Ends all calls, and with them the connection."""
        for call in self._calls():
            call.abort(StatusCode.UNAVAILABLE, "the server has stopped")
            call.cancel()
        self.abort(ErrorCode.NO_ERROR, "")

    def resume(self) -> None:
        """The transport has written what it had."""
        self.paused = False
        for call in self._calls():
            call.drained()

    def end_late(self, now: float) -> None:
        """Ends the calls whose requests take too long to come."""
        limit = self.options.request_seconds
        for call in self._calls() if limit else ():
            if call.is_late(now, limit_seconds=limit):
                self._refuse(
                    call, RpcError(StatusCode.DEADLINE_EXCEEDED, "the request took too long to come")
                )

    def let_go(self) -> None:
        """Ends the calls that hold memory here."""
        for call in self._calls():
            if call.reassembly is not None and not call.answered:
                self._refuse(call, RpcError(StatusCode.RESOURCE_EXHAUSTED, "the server holds too much"))

    def _calls(self) -> list[Call]:
        """The calls that are under way: what is done to one may end others."""
        return cast(list[Call], list(self.streams.values()))

    # The life of a call.

    def _begin(self, call: Call, now: float) -> None:
        head = call.request.meaning
        if head is None:
            head = call.request.meaning = read_head(call.request, self._methods)
        assert isinstance(head, Head)
        call.head = head
        timeout = head.timeout_seconds
        if timeout is None:
            timeout = self._default_timeout
        if timeout is not None:
            call.deadline = now + timeout
            self._limited.append(call)
        if head.method.takes_stream:
            call.task = self.host.spawn(self.run(call))

    def _complete(self, call: Call) -> None:
        """The request has ended."""
        if call.head.refusal is not None:
            self._refuse_http(call, call.head.refusal)
            return
        call.check_complete()
        method = call.head.method
        if method.takes_stream:
            return
        if method.direct is not None and not (call.takes_long and method.answer is not None):
            self._answer(call, method.direct, call.only_message())
        else:
            call.task = self.host.spawn(self.run(call))

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
