"""TLS and mutual TLS, and certificates that are renewed under a running server."""

import asyncio
import datetime
import ipaddress
import json
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common import errors
from lepton_common.auth import mint_token
from lepton_common.rpc import connect, named_errors
from lepton_common.settings import ClientSettings

GET = pb.GetDatasetRequest(name="datasets/digits")
DELETE = pb.DeleteDatasetRequest(name="datasets/digits")
TRAINER = "spiffe://lepton.test/trainer"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """An authority that issues certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = _builder(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, *san: x509.GeneralName) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = _builder(subject, self._name, key).add_extension(
            x509.SubjectAlternativeName(san), critical=False
        )
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        pair.certificate.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def served(authority: Authority) -> Pair:
    return authority.issue("server", LOOPBACK)


def replace(pair: Pair, by: Pair) -> None:
    """Puts other files in the place of a pair, certificate first: for a moment they do not fit."""
    shutil.copy(by.certificate, pair.certificate)
    shutil.copy(by.key, pair.key)


def serial_served_at(address: str, trusted: Authority) -> int:
    """Does a TLS handshake and gives the serial number of the server's certificate."""
    host, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), ca_certs=str(trusted.path))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def serial_of(pair: Pair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


async def test_a_client_that_trusts_the_authority_is_served(
    start: Any, stub_to: Any, authority: Authority, served: Pair
) -> None:
    server = await start(tls_certificate=served.certificate, tls_key=served.key)
    stub = await stub_to(server.address, tls_ca=authority.path)

    assert (await stub.GetDataset(GET)).dataset.name == GET.name


async def test_a_client_that_trusts_another_authority_refuses_the_server(
    start: Any, stub_to: Any, served: Pair, tmp_path: Path
) -> None:
    server = await start(tls_certificate=served.certificate, tls_key=served.key)
    stub = await stub_to(server.address, tls_ca=Authority(tmp_path, "stranger").path)

    with pytest.raises(errors.LeptonError), named_errors():
        await stub.GetDataset(GET, timeout=2)


async def test_a_client_without_tls_is_not_served(start: Any, stub_to: Any, served: Pair) -> None:
    server = await start(tls_certificate=served.certificate, tls_key=served.key)
    stub = await stub_to(server.address)

    with pytest.raises(errors.LeptonError), named_errors():
        await stub.GetDataset(GET, timeout=2)


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        pytest.param(ssl.TLSVersion.TLSv1_1, False, id="1.1"),
        pytest.param(ssl.TLSVersion.TLSv1_2, True, id="1.2"),
        pytest.param(ssl.TLSVersion.TLSv1_3, True, id="1.3"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_tls_begins_at_version_1_2(
    start: Any, authority: Authority, served: Pair, version: ssl.TLSVersion, accepted: bool
) -> None:
    server = await start(tls_certificate=served.certificate, tls_key=served.key)
    context = ssl.create_default_context(cafile=authority.path)
    # Without this OpenSSL itself would not offer 1.1, and the test would pass for that reason.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    host, _, port = server.address.rpartition(":")

    try:
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    except (ssl.SSLError, ConnectionError):
        assert not accepted
    else:
        negotiated = writer.get_extra_info("ssl_object").version()
        writer.transport.abort()
        assert accepted
        assert negotiated == {ssl.TLSVersion.TLSv1_2: "TLSv1.2"}.get(version, "TLSv1.3")


async def test_a_renewed_certificate_is_served_without_a_restart(
    start: Any, stub_to: Any, authority: Authority, served: Pair
) -> None:
    server = await start(tls_certificate=served.certificate, tls_key=served.key)
    old = await stub_to(server.address, tls_ca=authority.path)
    await old.GetDataset(GET)
    assert await asyncio.to_thread(serial_served_at, server.address, authority) == serial_of(served)

    renewed = authority.issue("renewed", LOOPBACK)
    replace(served, renewed)

    assert await asyncio.to_thread(serial_served_at, server.address, authority) == serial_of(renewed)
    await old.GetDataset(GET)
    await (await stub_to(server.address, tls_ca=authority.path)).GetDataset(GET)


async def test_a_change_of_authority_reaches_running_servers(
    start: Any, stub_to: Any, served: Pair, tmp_path: Path
) -> None:
    server = await start(tls_certificate=served.certificate, tls_key=served.key)
    successor = Authority(tmp_path, "successor")

    replace(served, successor.issue("other", LOOPBACK))

    stub = await stub_to(server.address, tls_ca=successor.path)
    assert (await stub.GetDataset(GET)).dataset.name == GET.name


async def test_a_certificate_whose_key_has_not_followed_is_not_served(
    start: Any, stub_to: Any, authority: Authority, served: Pair
) -> None:
    server = await start(tls_certificate=served.certificate, tls_key=served.key)
    before = serial_of(served)
    renewed = authority.issue("renewed", LOOPBACK)

    shutil.copy(renewed.certificate, served.certificate)

    assert await asyncio.to_thread(serial_served_at, server.address, authority) == before
    shutil.copy(renewed.key, served.key)
    assert await asyncio.to_thread(serial_served_at, server.address, authority) == serial_of(renewed)


async def test_a_server_does_not_start_with_files_that_do_not_fit(
    start: Any, authority: Authority, served: Pair
) -> None:
    other = authority.issue("other", LOOPBACK)

    with pytest.raises(OSError, match=r"(?i)mismatch"):
        await start(tls_certificate=served.certificate, tls_key=other.key)


class TestMutualTls:
    @pytest.fixture
    def credential_file(self, tmp_path: Path) -> Path:
        path = tmp_path / "credentials.json"
        certificates = [
            {"name": "trainer", "identity": TRAINER, "roles": ["writer"]},
            {"name": "registry", "identity": "registry.lepton.test", "roles": ["reader"]},
        ]
        path.write_text(json.dumps({"certificates": certificates}))
        return path

    @pytest.fixture
    async def server(self, start: Any, authority: Authority, served: Pair, credential_file: Path) -> Any:
        return await start(
            tls_certificate=served.certificate,
            tls_key=served.key,
            tls_client_ca=authority.path,
            token_file=credential_file,
        )

    @pytest.mark.parametrize(
        ("san", "may_delete"),
        [
            pytest.param(x509.UniformResourceIdentifier(TRAINER), True, id="SPIFFE id of a writer"),
            pytest.param(x509.DNSName("registry.lepton.test"), False, id="DNS name of a reader"),
        ],
    )
    async def test_the_certificate_tells_who_calls(
        self, server: Any, stub_to: Any, authority: Authority, san: x509.GeneralName, may_delete: bool
    ) -> None:
        shown = authority.issue("client", san)
        stub = await stub_to(
            server.address, tls_ca=authority.path, tls_certificate=shown.certificate, tls_key=shown.key
        )

        await stub.GetDataset(GET)
        if may_delete:
            await stub.DeleteDataset(DELETE)
        else:
            with pytest.raises(errors.PermissionDenied, match="registry may not"), named_errors():
                await stub.DeleteDataset(DELETE)

    @pytest.mark.parametrize(
        "san",
        [
            pytest.param(x509.DNSName("unknown.lepton.test"), id="another DNS name"),
            pytest.param(x509.DNSName("trainer"), id="the name in the file"),
            pytest.param(
                x509.UniformResourceIdentifier("spiffe://other.test/trainer"), id="another SPIFFE id"
            ),
            pytest.param(x509.UniformResourceIdentifier("https://lepton.test/trainer"), id="another URI"),
        ],
    )
    async def test_a_certificate_of_nobody_known_is_refused(
        self, server: Any, stub_to: Any, authority: Authority, san: x509.GeneralName
    ) -> None:
        shown = authority.issue("client", san)
        stub = await stub_to(
            server.address, tls_ca=authority.path, tls_certificate=shown.certificate, tls_key=shown.key
        )

        with pytest.raises(errors.Unauthenticated), named_errors():
            await stub.GetDataset(GET)

    async def test_a_client_without_a_certificate_does_not_get_in(
        self, server: Any, stub_to: Any, authority: Authority
    ) -> None:
        stub = await stub_to(server.address, tls_ca=authority.path)

        with pytest.raises(errors.LeptonError), named_errors():
            await stub.GetDataset(GET, timeout=2)

    async def test_a_certificate_of_another_authority_does_not_get_in(
        self, server: Any, stub_to: Any, authority: Authority, tmp_path: Path
    ) -> None:
        forged = Authority(tmp_path, "stranger").issue("client", x509.UniformResourceIdentifier(TRAINER))
        stub = await stub_to(
            server.address, tls_ca=authority.path, tls_certificate=forged.certificate, tls_key=forged.key
        )

        with pytest.raises(errors.LeptonError), named_errors():
            await stub.GetDataset(GET, timeout=2)


class TestTokens:
    async def test_a_token_travels_over_tls(
        self, start: Any, stub_to: Any, authority: Authority, served: Pair, tmp_path: Path
    ) -> None:
        token, sha256 = mint_token()
        tokens = tmp_path / "tokens.json"
        tokens.write_text(json.dumps({"tokens": [{"name": "ada", "sha256": sha256, "roles": ["reader"]}]}))
        server = await start(tls_certificate=served.certificate, tls_key=served.key, token_file=tokens)
        stub = await stub_to(server.address, tls_ca=authority.path, token=token)

        assert (await stub.GetDataset(GET)).dataset.name == GET.name

    @pytest.mark.parametrize("address", ["10.0.0.7:7001", "lepton.example:7001"])
    def test_a_token_does_not_leave_the_machine_in_clear_text(self, address: str) -> None:
        with pytest.raises(ValueError, match="readable on the network"):
            connect(address, settings=ClientSettings.model_validate({"token": "secret"}))
