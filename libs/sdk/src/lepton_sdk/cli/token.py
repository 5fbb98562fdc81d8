"""`lepton token`: make a token for a caller of the services."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import click

from lepton_common.auth import Credentials, mint_token
from lepton_common.errors import AlreadyExists, MalformedFile
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.session import guarded

ROLES = ("reader", "predictor", "writer", "admin")


def _named(context: click.Context, parameter: click.Parameter, name: str) -> str:
    if not 1 <= len(name) <= 128:
        raise click.BadParameter("a name has 1 to 128 characters")
    return name


@click.command()
@click.argument("name", callback=_named)
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="Repeatable.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    envvar="LEPTON_TOKEN_FILE",
    help="The services' credential file; it is made if it is not there.",
)
@click.pass_context
def command(context: click.Context, name: str, roles: tuple[str, ...], path: Path) -> None:
    """Make a token for a caller of the services.

    Its hash is added under NAME to the services' credential file; those that run see the change by
    themselves. The token is printed once and kept nowhere.

    A reader sees resources, a predictor asks models and agents, a writer does both and changes resources;
    admin is for services among themselves.
    """
    output = Output(context.find_root().obj["output"] == "json")
    guarded(lambda: _make(output, name, roles, path))


async def _make(output: Output, name: str, roles: tuple[str, ...], path: Path) -> None:
    document = _read(path)
    tokens = document.setdefault("tokens", [])
    if any(entry["name"] == name for entry in tokens):
        raise AlreadyExists(f"{path} has a token for {name!r}; remove that entry to replace it")
    token, digest = mint_token()
    tokens.append({"name": name, "sha256": digest, "roles": [*roles]})
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    # Hashes alone are in it, but who may call is nobody else's business, unless its owner said otherwise.
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file, indent=2)
        os.fchmod(file.fileno(), mode)
    draft.replace(path)
    output.done(token, {"name": name, "token": token})


def _read(path: Path) -> dict[str, Any]:
    """The document of a credential file that the services would take; empty if there is none."""
    if not path.exists():
        return {}
    try:
        Credentials(path)
    except ValueError as wrong:
        raise MalformedFile(f"{path}: {wrong}") from wrong
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document
