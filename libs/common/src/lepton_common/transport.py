"""The address a server listens on, and how its connections behave."""

import logging

import grpc

from lepton_common.loopback import is_loopback
from lepton_common.settings import ServerSettings
from lepton_common.tls import server_credentials

_LOG = logging.getLogger(__name__)


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
        # What `rpc.connect` sends must not count as abuse.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        # Makes clients resolve names again now and then, so that new replicas get their share. Calls in
        # flight go on over the old connection.
        ("grpc.max_connection_age_ms", 600_000),
    ]


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
