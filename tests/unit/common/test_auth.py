import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lepton.access.v1.access_pb2 import (
    PERMISSION_ADMIN,
    PERMISSION_PREDICT,
    PERMISSION_READ,
    PERMISSION_WRITE,
)
from lepton_common.auth import ROLES, Credentials, mint_token
from lepton_common.errors import Unauthenticated

ADA, ADA_SHA256 = mint_token()
BOB, BOB_SHA256 = mint_token()
TRAINER = "spiffe://lepton/trainer"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credentials.json"


@pytest.fixture
def credentials(path: Path) -> Credentials:
    document = {
        "tokens": [
            {"name": "ada", "sha256": ADA_SHA256, "roles": ["reader", "predictor"]},
            {"name": "bob", "sha256": BOB_SHA256, "roles": ["admin"]},
        ],
        "certificates": [
            {"name": "trainer", "identity": TRAINER, "roles": ["writer"]},
            {"name": "registry", "identity": "registry.lepton.svc", "roles": ["reader"]},
        ],
    }
    path.write_text(json.dumps(document))
    return Credentials(path)


@pytest.mark.parametrize(
    ("role", "permissions"),
    [
        ("reader", {PERMISSION_READ}),
        ("predictor", {PERMISSION_PREDICT}),
        ("writer", {PERMISSION_READ, PERMISSION_WRITE, PERMISSION_PREDICT}),
        ("admin", {PERMISSION_READ, PERMISSION_WRITE, PERMISSION_PREDICT, PERMISSION_ADMIN}),
    ],
)
def test_each_role_grants_its_permissions(role: str, permissions: set[int]) -> None:
    assert ROLES[role] == permissions


def test_a_minted_token_is_random_and_known_by_its_digest() -> None:
    assert ADA != BOB
    assert hashlib.sha256(ADA.encode()).hexdigest() == ADA_SHA256
    assert len(ADA) >= 43


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_token_tells_who_calls(credentials: Credentials, scheme: str) -> None:
    caller = credentials.authenticate(f"{scheme} {ADA}", ())

    assert caller.name == "ada"
    assert caller.permissions == {PERMISSION_READ, PERMISSION_PREDICT}


@pytest.mark.parametrize(("name", "expected"), [(TRAINER, "trainer"), ("registry.lepton.svc", "registry")])
def test_a_certificate_tells_who_calls(credentials: Credentials, name: str, expected: str) -> None:
    assert credentials.authenticate("", ["other.example", name]).name == expected


@pytest.mark.parametrize(
    ("authorization", "names"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("Bearer ", [], id="an empty token"),
        pytest.param("Bearer wrong", [], id="a wrong token"),
        pytest.param(f"Bearer {ADA_SHA256}", [], id="the digest in place of the token"),
        pytest.param(f"Basic {ADA}", [], id="another scheme"),
        pytest.param(ADA, [], id="no scheme"),
        pytest.param("", ["spiffe://lepton/trainer/more"], id="a certificate that nobody listed"),
        pytest.param("Bearer wrong", [TRAINER], id="a wrong token beside a good certificate"),
        pytest.param("Bearer \u00e9\ud83d", [], id="a token that is no text"),
    ],
)
def test_who_is_not_known_is_refused(credentials: Credentials, authorization: str, names: list[str]) -> None:
    with pytest.raises(Unauthenticated):
        credentials.authenticate(authorization, names)


def test_a_changed_file_holds_at_once(credentials: Credentials, path: Path) -> None:
    path.write_text(json.dumps({"tokens": [{"name": "eve", "sha256": BOB_SHA256, "roles": ["reader"]}]}))

    assert credentials.authenticate(f"Bearer {BOB}", ()).name == "eve"
    with pytest.raises(Unauthenticated):
        credentials.authenticate(f"Bearer {ADA}", ())


@pytest.mark.parametrize(
    ("document", "place"),
    [
        pytest.param("{", "document", id="no JSON"),
        pytest.param({"token": []}, "token", id="an unknown key"),
        pytest.param(
            {"tokens": [{"name": "a", "sha256": "plain text", "roles": ["reader"]}]}, "sha256", id="no digest"
        ),
        pytest.param(
            {"tokens": [{"name": "a", "sha256": ADA_SHA256, "roles": ["boss"]}]},
            "roles",
            id="an unknown role",
        ),
        pytest.param({"tokens": [{"name": "a", "sha256": ADA_SHA256, "roles": []}]}, "roles", id="no role"),
        pytest.param({"certificates": [{"name": "a", "roles": ["admin"]}]}, "identity", id="no identity"),
    ],
)
def test_a_bad_file_is_an_error_that_names_the_place_and_no_secret(
    path: Path, document: Any, place: str
) -> None:
    path.write_text(document if isinstance(document, str) else json.dumps(document))

    with pytest.raises(ValueError, match=place) as raised:
        Credentials(path)

    assert "plain text" not in str(raised.value)
    assert ADA_SHA256 not in str(raised.value)
