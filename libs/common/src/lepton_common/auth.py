"""Who is calling, and what they may do.

A credential file names every caller that a server admits, as JSON:

    {"tokens": [{"name": "ada", "sha256": "<64 hex digits>", "roles": ["writer"]}],
     "certificates": [{"name": "trainer", "identity": "spiffe://lepton/trainer", "roles": ["admin"]}]}

A token is kept as its SHA-256 alone. That is enough because tokens are random (`mint_token`, 256 bits):
there is no dictionary to try, so a slow password hash would only cost every call. A certificate's
identity is its SPIFFE id or a DNS name among its subject alternative names, as the TLS layer verified them.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lepton.access.v1 import access_pb2
from lepton_common.errors import Unauthenticated
from lepton_common.reloading import Reloading

_READ = access_pb2.PERMISSION_READ
_WRITE = access_pb2.PERMISSION_WRITE
_PREDICT = access_pb2.PERMISSION_PREDICT
_ADMIN = access_pb2.PERMISSION_ADMIN

Role = Literal["reader", "predictor", "writer", "admin"]

ROLES: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "reader": frozenset({_READ}),
        "predictor": frozenset({_PREDICT}),
        "writer": frozenset({_READ, _WRITE, _PREDICT}),
        "admin": frozenset({_READ, _WRITE, _PREDICT, _ADMIN}),
    }
)
"""The permissions (`lepton.access.v1.Permission`) that each role grants."""


@dataclass(frozen=True)
class Identity:
    """A caller: the name it has in the credential file, and the permissions of its roles."""

    name: str
    permissions: frozenset[int]


ANYONE = Identity("anyone", ROLES["admin"])
"""The caller of a server that has no credential file."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=128)
    roles: tuple[Role, ...] = Field(min_length=1)

    @property
    def caller(self) -> Identity:
        return Identity(self.name, frozenset().union(*(ROLES[role] for role in self.roles)))


class _Token(_Entry):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Certificate(_Entry):
    identity: str = Field(min_length=1)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: tuple[_Token, ...] = ()
    certificates: tuple[_Certificate, ...] = ()


def mint_token() -> tuple[str, str]:
    """Makes a new random token: the token for its caller, and the SHA-256 for the credential file."""
    token = "lepton_" + secrets.token_urlsafe(32)
    return token, hashlib.sha256(token.encode()).hexdigest()


class Credentials:
    """The callers that a server admits, from a file that is read again when it changes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not what the module's description says; the text names the place.
    """

    def __init__(self, path: Path) -> None:
        self._document = Reloading([path], lambda: _read(path))

    def authenticate(self, authorization: str, certificate_names: Iterable[str]) -> Identity:
        """Finds out who calls.

        Args:
            authorization: the `authorization` metadata, `Bearer <token>`; empty if there is none.
            certificate_names: SPIFFE ids and DNS names of the verified client certificate.

        Raises:
            Unauthenticated: neither is known here. A wrong token is refused even beside a good certificate.
        """
        document = self._document.get()
        if authorization:
            return _token_caller(document.tokens, authorization)
        names = set(certificate_names)
        for certificate in document.certificates:
            if certificate.identity in names:
                return certificate.caller
        if names:
            raise Unauthenticated("the client certificate belongs to nobody known here")
        raise Unauthenticated("this call needs a bearer token in the metadata 'authorization'")


def _read(path: Path) -> _Document:
    try:
        return _Document.model_validate_json(path.read_bytes())
    except ValidationError as error:
        # Told without the values: they are secrets, or what somebody took for one.
        places = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise ValueError(f"not a credential file: {places}") from None


def _token_caller(tokens: Iterable[_Token], authorization: str) -> Identity:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("the authorization must be 'Bearer <token>'")
    # Whatever was sent has a digest: what is no text is refused like any other wrong token.
    digest = hashlib.sha256(token.strip().encode(errors="surrogatepass")).hexdigest()
    known: _Token | None = None
    for candidate in tokens:
        # No early end: how long the search takes tells nothing about which token came close.
        if hmac.compare_digest(candidate.sha256, digest):
            known = candidate
    if known is None:
        raise Unauthenticated("the bearer token is not known here")
    return known.caller
