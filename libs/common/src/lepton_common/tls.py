"""Transport security: certificates from files, read again when the files change."""

import ssl
from pathlib import Path

import grpc

from lepton_common.reloading import Reloading


def server_credentials(
    certificate: Path, key: Path, *, client_ca: Path | None = None
) -> grpc.ServerCredentials:
    """Makes credentials that serve whatever certificate the files hold when a client connects.

    gRPC speaks TLS 1.2 and 1.3 only.

    Args:
        certificate: the chain, PEM.
        key: its key, PEM.
        client_ca: authorities, PEM; if given, every client must show a certificate from one of them.

    Raises:
        OSError, ValueError: the files cannot be read, or do not belong together.
    """
    paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]

    def load() -> grpc.ServerCertificateConfiguration:
        # OpenSSL's own check: a key that belongs to another certificate is an error here, before gRPC
        # would fail every handshake with it.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
        return grpc.ssl_server_certificate_configuration(
            [(key.read_bytes(), certificate.read_bytes())],
            root_certificates=client_ca.read_bytes() if client_ca is not None else None,
        )

    configuration = Reloading(paths, load)
    return grpc.dynamic_ssl_server_credentials(
        configuration.get(), configuration.get, require_client_authentication=client_ca is not None
    )


def channel_credentials(
    ca: Path, *, certificate: Path | None = None, key: Path | None = None
) -> grpc.ChannelCredentials:
    """Makes credentials for a channel, from what the files hold now.

    Args:
        ca: authorities that the server's certificate must come from, PEM.
        certificate: chain to show to a server that asks for one, PEM.
        key: its key, PEM.

    Raises:
        OSError: a file cannot be read.
    """
    return grpc.ssl_channel_credentials(
        root_certificates=ca.read_bytes(),
        private_key=key.read_bytes() if key is not None else None,
        certificate_chain=certificate.read_bytes() if certificate is not None else None,
    )
