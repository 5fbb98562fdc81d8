"""`lepton token`: make a token for a caller of the services."""

import json
import os
from pathlib import Path

import click

from lepton_common.auth import mint_token
from lepton_common.errors import AlreadyExists, MalformedFile
from lepton_sdk.cli.session import Output, guarded

ROLES = ("reader", "predictor", "writer", "admin")


@click.command()
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="Repeatable.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    envvar="LEPTON_TOKEN_FILE",
    help="The services' credential file; it is made if it is not there.",
)
@click.pass_context
def command(context: click.Context, name: str, roles: tuple[str, ...], path: Path) -> None:
    """Make a token for the caller NAME and add its hash to the services' credential file.

    The token is printed once and kept nowhere. Services that run see the change by themselves. Roles: reader
    sees resources, predictor asks models and agents, writer does both and changes resources, admin is for
    services among themselves.
    """
    output = Output(context.find_root().obj["output"] == "json")
    guarded(lambda: _make(output, name, roles, path))


def _make(output: Output, name: str, roles: tuple[str, ...], path: Path) -> None:
    try:
        document = json.loads(path.read_text()) if path.exists() else {}
        tokens = document.setdefault("tokens", [])
        taken = {entry["name"] for entry in tokens}
    except (json.JSONDecodeError, AttributeError, TypeError, KeyError) as wrong:
        raise MalformedFile(f"{path} is no credential file: {wrong}") from wrong
    if name in taken:
        raise AlreadyExists(f"{path} has a token for {name!r}; remove that entry to replace it")
    token, digest = mint_token()
    tokens.append({"name": name, "sha256": digest, "roles": [*roles]})
    draft = path.with_suffix(".new")
    # Hashes alone are in it, but who may call is nobody else's business.
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=2)
    draft.replace(path)
    output.done(token, {"name": name, "token": token})
