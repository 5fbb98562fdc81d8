"""The server of `lepton_http2`, for services that answer more calls than gRPC's own can."""

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from lepton_common.interceptors.chain import CallChain, Handler
from lepton_common.settings import ServerSettings
from lepton_common.transports.http2_context import Context, check_size
from lepton_common.transports.http2_quick import First
from lepton_common.transports.http2_tls import reloading_context
from lepton_http2.grpc import (
    Call,
    Method,
    Options,
    Server,
    bidirectional,
    client_streaming,
    server_streaming,
    unary,
)

_BACKLOG = 1024
# A connection may hold so many messages of the largest size that are not whole, or that nobody has taken.
_MESSAGES_HELD = 4
_NO_FIRST: Mapping[str, First] = {}


class Http2Transport:
    """A `lepton_http2.grpc.Server` on one address.

    Args:
        settings: how it behaves.
        listen: `host:port`.
        chain: what stands around its handlers. None: nothing.
        first: functions that are asked before the handlers, by path.
        tls: whether it speaks TLS, if there is a certificate.
    """

    def __init__(
        self,
        settings: ServerSettings,
        listen: str,
        *,
        chain: CallChain | None = None,
        first: Mapping[str, First] = _NO_FIRST,
        tls: bool = True,
    ) -> None:
        self._settings = settings
        self._listen = listen
        self._chain = chain
        self._first = first
        self._tls = tls
        self._handlers: dict[str, Handler] = {}
        self._socket: socket.socket | None = None
        self._context: ssl.SSLContext | None = None
        self._server: Server | None = None

    @property
    def registrar(self) -> Any:
        """Handlers are added here."""
        return self

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes the handlers of a service, by method name: what the generated code calls."""
        self._handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Called by the generated code too, with the same handlers in another form."""

    async def bind(self) -> str:
        """See `Transport.bind`."""
        settings = self._settings
        if self._tls:
            self._context = reloading_context(
                settings.tls_certificate, settings.tls_key, client_ca=settings.tls_client_ca
            )
        await self._prepare()
        host, _, port = self._listen.rpartition(":")
        bare = host.strip("[]")
        try:
            self._socket = socket.create_server(
                (bare, int(port)),
                family=socket.AF_INET6 if ":" in bare else socket.AF_INET,
                backlog=_BACKLOG,
                dualstack_ipv6=bare == "::" and socket.has_dualstack_ipv6(),
            )
        except OSError as error:
            raise OSError(f"cannot listen on {self._listen}") from error
        return f"{host}:{self._socket.getsockname()[1]}"

    async def _prepare(self) -> None:
        """Does what comes before the address is taken."""

    async def start(self) -> None:
        """See `Transport.start`."""
        assert self._socket is not None
        self._server = Server(self._methods(), server_options(self._settings))
        await self._server.listen_on(self._socket, tls=self._context)

    def leave(self) -> None:
        """See `Transport.leave`."""
        if self._server is not None:
            self._server.leave()

    async def stop(self, seconds: float) -> None:
        """See `Transport.stop`."""
        if self._server is not None:
            await self._server.drain(seconds)
        elif self._socket is not None:
            self._socket.close()

    def _methods(self) -> list[Method]:
        chain = self._chain
        if chain is None:
            return [self._method(path, handler) for path, handler in self._handlers.items()]
        around = [(path, chain.around(path, handler)) for path, handler in self._handlers.items()]
        # The empty path stands for all that there is nothing at.
        return [self._method(path, handler) for path, handler in [*around, ("", chain.refusal())]]

    def _method(self, path: str, handler: Handler) -> Method:
        largest = self._settings.max_message_bytes
        decode = handler.request_deserializer or bytes
        serialise = handler.response_serializer or bytes

        def encode(message: Any) -> bytes:
            data = serialise(message)
            check_size(data, largest)
            return data

        async def answer(call: Call, request: Any) -> Any:
            context = Context(call, encode)
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise context.status() from None

        async def stream(call: Call, request: Any) -> AsyncIterator[Any]:
            # The coroutine writes all there is.
            await answer(call, request)
            return
            yield

        behaviour: Any
        if handler.request_streaming and handler.response_streaming:
            behaviour = handler.stream_stream
            return bidirectional(path, stream, decode=decode, encode=encode)
        if handler.request_streaming:
            behaviour = handler.stream_unary
            return client_streaming(path, answer, decode=decode, encode=encode)
        if handler.response_streaming:
            behaviour = handler.unary_stream
            return server_streaming(path, stream, decode=decode, encode=encode)
        behaviour = handler.unary_unary
        first = self._first.get(path)
        return unary(path, answer, first=first, in_place=first is not None, decode=decode, encode=encode)


def server_options(settings: ServerSettings) -> Options:
    """What a server allows, as the settings say."""
    return Options(
        max_message_bytes=settings.max_message_bytes,
        max_buffered_bytes=_MESSAGES_HELD * settings.max_message_bytes,
        request_seconds=settings.default_deadline_seconds,
        # As `aio` has it: finds out about clients that vanished in the middle of a watch.
        keepalive_seconds=60.0,
        keepalive_timeout_seconds=20.0,
        max_age_seconds=settings.max_connection_age_seconds,
    )
