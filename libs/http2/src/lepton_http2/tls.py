"""Contexts for TLS as HTTP/2 wants it (RFC 9113, section 9.2)."""

import ssl
from pathlib import Path

__all__ = ["server_context"]


def server_context(certificate: Path, key: Path, *, client_ca: Path | None = None) -> ssl.SSLContext:
    """A context for a server that speaks nothing but HTTP/2.

    Args:
        certificate: the chain, PEM.
        key: its key, PEM.
        client_ca: authorities, PEM; if given, every client must show a certificate from one of them.

    Raises:
        OSError: a file cannot be read, or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Of TLS 1.2, what has forward secrecy and authenticates what it encrypts.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
