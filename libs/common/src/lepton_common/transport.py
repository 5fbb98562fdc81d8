"""The address a server listens on, and how its connections behave."""

import logging

import grpc

from lepton_common.loopback import is_loopback
from lepton_common.settings import ServerSettings
from lepton_common.tls import server_credentials

_LOG = logging.getLogger(__name__)

_LEAST_PING_INTERVAL_MS = 200

# What gRPC takes for no limit.
_NEVER = 2**31 - 1


def options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Gives the channel arguments of a server."""
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


def bind_health(server: grpc.aio.Server, address: str) -> str:
    """Takes an address for health alone, in plain text.

    Returns:
        The bound `host:port`.

    Raises:
        OSError: the address cannot be taken.
    """
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}") from error
    return f"{address.rpartition(':')[0]}:{port}"


def bind(server: grpc.aio.Server, settings: ServerSettings) -> str:
    """Takes the address, with TLS if there is a certificate.

    Returns:
        The bound `host:port`.

    Raises:
        OSError: the address cannot be taken, or a certificate cannot be read.
    """
    host = settings.listen.rpartition(":")[0]
    try:
        if settings.tls_certificate is None or settings.tls_key is None:
            if settings.token_file is not None and not is_loopback(settings.listen):
                _LOG.warning("tokens are taken without TLS on %s", settings.listen)
            port = server.add_insecure_port(settings.listen)
        else:
            tls = server_credentials(
                settings.tls_certificate, settings.tls_key, client_ca=settings.tls_client_ca
            )
            port = server.add_secure_port(settings.listen, tls)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {settings.listen}") from error
    return f"{host}:{port}"
