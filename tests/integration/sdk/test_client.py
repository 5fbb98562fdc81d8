"""Who the client says it is: tokens and certificates from the environment."""

import datetime
import ipaddress
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lepton.training.v1 import training_pb2
from lepton_common import errors
from lepton_common.auth import mint_token
from lepton_common.server import Server
from lepton_sdk.client import Client

from .conftest import JOB, addresses

Start = Callable[..., Awaitable[Server]]


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    """A token by role, and the credential file `tokens.json` that knows them."""
    made = {role: mint_token() for role in ("reader", "writer")}
    entries = [{"name": role, "sha256": digest, "roles": [role]} for role, (_, digest) in made.items()]
    (tmp_path / "tokens.json").write_text(json.dumps({"tokens": entries}))
    return {role: token for role, (token, _) in made.items()}


@pytest.fixture
async def guarded(start: Start, tokens: dict[str, str], tmp_path: Path) -> Server:
    """A server that admits callers with a token."""
    return await start(token_file=tmp_path / "tokens.json")


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lepton")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "server.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {"tls_certificate": tmp_path / "server.crt", "tls_key": tmp_path / "server.key"}


async def create(client: Client) -> training_pb2.TrainingJob:
    spec = training_pb2.TrainingSpec(
        dataset_version="datasets/digits/versions/1", model="models/digits", mlp=training_pb2.Mlp()
    )
    return await client.training.create("digits", spec)


async def test_without_a_token_it_is_nobody(guarded: Server) -> None:
    async with Client(addresses(guarded.address)) as client:
        with pytest.raises(errors.Unauthenticated):
            await client.training.get(JOB)


async def test_the_token_of_the_environment_says_who_it_is(
    guarded: Server, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEPTON_TOKEN", tokens["reader"])
    async with Client(addresses(guarded.address)) as client:
        assert (await client.training.get(JOB)).name == JOB
        with pytest.raises(errors.PermissionDenied):
            await create(client)
    monkeypatch.setenv("LEPTON_TOKEN", tokens["writer"])
    async with Client(addresses(guarded.address)) as client:
        assert (await create(client)).name == JOB


async def test_the_token_may_be_in_a_file(
    guarded: Server, tokens: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(tokens["reader"] + "\n")
    monkeypatch.setenv("LEPTON_TOKEN_PATH", str(tmp_path / "token"))
    async with Client(addresses(guarded.address)) as client:
        assert (await client.training.get(JOB)).name == JOB
        assert len([job async for job in client.training.watch(JOB)]) == 2, "streams carry it too"


async def test_with_an_authority_it_speaks_tls(
    start: Start, certificate: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(**certificate)
    monkeypatch.setenv("LEPTON_TLS_CA", str(certificate["tls_certificate"]))
    async with Client(addresses(server.address)) as client:
        assert (await client.training.get(JOB)).name == JOB
        assert await client.health("trainer") == "SERVING"


async def test_without_the_authority_there_is_no_answer(start: Start, certificate: dict[str, Path]) -> None:
    server = await start(**certificate)
    async with Client(addresses(server.address)) as client:
        assert await client.health("trainer", seconds=1) in {
            "NO ANSWER (UNAVAILABLE)",
            "NO ANSWER (DEADLINE_EXCEEDED)",
        }


async def test_health_needs_no_token(guarded: Server) -> None:
    async with Client(addresses(guarded.address)) as client:
        assert await client.health("registry") == "SERVING"


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        pytest.param({"LEPTON_TLS_CA": "/no/such/file"}, "No such file", id="no authority"),
        pytest.param({"LEPTON_TOKEN_PATH": "/no/such/file"}, "No such file", id="no token file"),
        pytest.param({"LEPTON_TOKEN_PATH": "/dev/null"}, "empty", id="an empty token file"),
        pytest.param({"LEPTON_TOKEN": "secret"}, "readable on the network", id="a token in clear text"),
        pytest.param({"LEPTON_TOKEN": "secret\n"}, "cannot carry", id="a token with a line end"),
        pytest.param({"LEPTON_TOKEN": "secrét"}, "cannot carry", id="a token with an accent"),
        pytest.param({"LEPTON_ALLOW_INSECURE": "maybe"}, "allow_insecure", id="neither true nor false"),
    ],
)
async def test_credentials_that_cannot_be_used_are_told(
    environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(errors.InvalidField, match=told) as refused:
        Client(addresses("192.0.2.1:7101"))
    assert "secret" not in str(refused.value)
