"""TLS: nobody talks to the wrong one, and nothing but HTTP/2 is spoken."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from lepton_http2.grpc import Call, direct
from lepton_http2.tls import server_context

if TYPE_CHECKING:
    from ...certificates import Certificates
    from .conftest import Served

PATH = "/test.Service/Method"


def whoami(call: Call, request: bytes) -> bytes:
    certificate = call.peer_certificate
    names = {} if certificate is None else dict(part[0] for part in certificate["subject"])
    name: str = names.get("commonName", "nobody")
    return name.encode()


@pytest.fixture(params=["server", "both"])
def mutual(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "both")


@pytest.fixture
def served(serve: Callable[..., Served], certificates: Certificates, mutual: bool) -> Served:
    client_ca = certificates.authority if mutual else None
    context = server_context(certificates.certificate, certificates.key, client_ca=client_ca)
    return serve([direct(PATH, whoami), direct("/echo", lambda call, request: request)], tls=context)


def call(served: Served, path: str, request: bytes, credentials: grpc.ChannelCredentials) -> bytes:
    channel: Any
    with grpc.secure_channel(f"localhost:{served.port}", credentials) as channel:
        reply: bytes = channel.unary_unary(path)(request, timeout=30)
        return reply


def test_a_client_is_known_by_its_certificate(
    served: Served, certificates: Certificates, mutual: bool
) -> None:
    credentials = grpc.ssl_channel_credentials(
        certificates.authority.read_bytes(),
        certificates.client_key.read_bytes() if mutual else None,
        certificates.client_certificate.read_bytes() if mutual else None,
    )
    assert call(served, PATH, b"", credentials) == (b"client" if mutual else b"nobody")
    message = bytes(1_000_000)
    assert call(served, "/echo", message, credentials) == message


@pytest.mark.parametrize("mutual", ["both"], indirect=True)
def test_a_client_without_a_certificate_is_not_let_in(served: Served, certificates: Certificates) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(served, PATH, b"", grpc.ssl_channel_credentials(certificates.authority.read_bytes()))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("mutual", ["server"], indirect=True)
@pytest.mark.parametrize("protocols", [[], ["http/1.1"]], ids=["none", "http/1.1"])
def test_who_does_not_agree_on_http2_is_let_go(
    served: Served, certificates: Certificates, protocols: list[str]
) -> None:
    context = ssl.create_default_context(cafile=certificates.authority)
    if protocols:
        context.set_alpn_protocols(protocols)
    with served.socket() as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                assert secure.selected_alpn_protocol() is None
                assert secure.recv(1) == b""
        except (ssl.SSLError, ConnectionError):
            # Refused within the handshake: as good.
            pass


@pytest.mark.parametrize("mutual", ["server"], indirect=True)
def test_old_versions_are_not_spoken(served: Served, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=certificates.authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("AES256-GCM-SHA384")
    with served.socket() as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("mutual", ["server"], indirect=True)
def test_many_clients_shake_hands_at_a_time(served: Served, certificates: Certificates) -> None:
    credentials = grpc.ssl_channel_credentials(certificates.authority.read_bytes())
    replies: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: replies.append(call(served, "/echo", b"x" * 1000, credentials)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert replies == [b"x" * 1000] * 8
