"""An installation of the chart, as a client needs to know it: its Services, and what to show to them.

The names are those of the chart: `<release>-<service>`, and the Secrets `<release>-user-token` and
`<release>-client-tls`.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from lepton_common.errors import NotFound
from lepton_sdk.addresses import Addresses
from lepton_sdk.kubectl import Kubectl

PORT = 7000
LONGEST_NAME = 63
CERTIFICATE_FILES = {
    "ca.crt": "LEPTON_TLS_CA",
    "tls.crt": "LEPTON_TLS_CERTIFICATE",
    "tls.key": "LEPTON_TLS_KEY",
}
"""Keys of the Secret, and the variables that name the files."""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What was found in a cluster."""

    services: Mapping[str, str]
    """Name of the Service of every service, by its name in `Addresses`."""
    token: bytes
    """Of the user; empty where none is needed."""
    certificates: Mapping[str, bytes]
    """The authority, certificate and key of the user, as files are named; empty without TLS."""


def name_of(release: str, part: str) -> str:
    """The name that the chart gives to something of a release."""
    return f"{release}-{part}"[:LONGEST_NAME].rstrip("-")


async def find(kubectl: Kubectl, release: str) -> Installation:
    """Look a release up.

    Raises:
        NotFound: there is no such namespace, or no such release in it.
        PermissionDenied: the user may not look at its Services or read its Secrets.
        LeptonError: kubectl failed otherwise.
    """
    services = {field.name: name_of(release, field.name.replace("_", "-")) for field in fields(Addresses)}
    there = await kubectl.found("service", [*services.values()])
    missing = sorted(set(services.values()) - set(there))
    if missing:
        await kubectl.check_namespace()
        where = f"namespace {kubectl.namespace!r}" if kubectl.namespace else "the context's namespace"
        if there:
            raise NotFound(f"the release {release!r} in {where} lacks services: {', '.join(missing)}")
        raise NotFound(f"there is no release {release!r} in {where}; `helm list -A` shows them all")
    token, certificates = await asyncio.gather(
        kubectl.secret(name_of(release, "user-token")), kubectl.secret(name_of(release, "client-tls"))
    )
    return Installation(
        services=services,
        token=token.get("token", b""),
        certificates={name: certificates[name] for name in CERTIFICATE_FILES if name in certificates},
    )


def write(installation: Installation, addresses: Addresses, folder: Path) -> dict[str, str]:
    """Write what a client needs below `folder`, for its owner's eyes alone; what an earlier installation had
    and this one has not is removed.

    Returns:
        The environment that lets every client use it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    folder = folder.resolve()
    addresses.write(folder / "endpoints.json")
    environment = {"LEPTON_ENDPOINTS": str(folder / "endpoints.json")}
    contents = {"token": installation.token, **{name: b"" for name in CERTIFICATE_FILES}}
    contents |= installation.certificates
    for name, content in contents.items():
        path = folder / name
        if not content:
            path.unlink(missing_ok=True)
            continue
        draft = path.with_name(f".{name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        draft.replace(path)
        environment[CERTIFICATE_FILES.get(name, "LEPTON_TOKEN_PATH")] = str(path)
    return environment
