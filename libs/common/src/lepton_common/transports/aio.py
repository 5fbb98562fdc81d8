"""gRPC's own server for asyncio, and how its connections behave."""

from typing import Any

import grpc

from lepton_common.interceptors.chain import CallChain
from lepton_common.settings import ServerSettings
from lepton_common.tls import server_credentials

_LEAST_PING_INTERVAL_MS = 200

# What gRPC takes for no limit.
_NEVER = 2**31 - 1


class AioTransport:
    """A `grpc.aio.Server` on one address.

    Args:
        settings: how it behaves.
        listen: `host:port`.
        chain: what stands around its handlers. None: nothing.
        tls: whether it speaks TLS, if there is a certificate.
    """

    def __init__(
        self, settings: ServerSettings, listen: str, *, chain: CallChain | None = None, tls: bool = True
    ) -> None:
        self._settings = settings
        self._listen = listen
        self._tls = tls
        self._server = grpc.aio.server(
            interceptors=[] if chain is None else [chain], options=_options(settings)
        )

    @property
    def registrar(self) -> Any:
        """The server itself."""
        return self._server

    async def bind(self) -> str:
        """See `Transport.bind`."""
        settings = self._settings
        try:
            if not self._tls or settings.tls_certificate is None or settings.tls_key is None:
                port = self._server.add_insecure_port(self._listen)
            else:
                tls = server_credentials(
                    settings.tls_certificate, settings.tls_key, client_ca=settings.tls_client_ca
                )
                port = self._server.add_secure_port(self._listen, tls)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._listen}") from error
        return f"{self._listen.rpartition(':')[0]}:{port}"

    async def start(self) -> None:
        """See `Transport.start`."""
        await self._server.start()

    def leave(self) -> None:
        """See `Transport.leave`. This server says it only when it stops, and then refuses what comes."""

    async def stop(self, seconds: float) -> None:
        """See `Transport.stop`."""
        await self._server.stop(seconds)


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Without this two servers share a port and each gets some of the calls.
        ("grpc.so_reuseport", 0),
        # Finds out about clients that vanished in the middle of a watch.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A client is cut off at the third ping that comes sooner after another than this. `rpc.connect` sends
        # one a second at most.
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", 2),
        # gRPC spreads it by a tenth, so that connections that began together do not end together.
        ("grpc.max_connection_age_ms", round(settings.max_connection_age_seconds * 1000) or _NEVER),
    ]
