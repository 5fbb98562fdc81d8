"""`lepton model`: look at models and their versions."""

from pathlib import Path

import click

from lepton.model.v1 import model_pb2
from lepton_sdk.cli.arguments import full_name, version_name
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client


@click.group()
def command() -> None:
    """Look at models and their versions."""


@command.command("list")
@connected
async def list_(client: Client, output: Output) -> None:
    """List models."""
    output.resources(
        await client.models.list(),
        {
            "NAME": lambda each: each.name,
            "DESCRIPTION": lambda each: each.description,
            "CREATED": lambda each: each.create_time.ToJsonString(),
        },
    )


@command.command()
@click.argument("model")
@connected
async def versions(client: Client, output: Output, model: str) -> None:
    """List the versions of MODEL, newest first."""
    output.resources(
        await client.models.versions(full_name("models", model)),
        {
            "NAME": lambda each: each.name,
            "FORMAT": lambda each: model_pb2.ModelFormat.Name(each.format).removeprefix("MODEL_FORMAT_"),
            "BYTES": lambda each: each.size_bytes,
            # Those of one class or slice column, `accuracy/cat`, are for `lepton model report`.
            "METRICS": lambda each: "  ".join(
                f"{name} {value:.4g}" for name, value in sorted(each.metrics.items()) if "/" not in name
            ),
            "DIGEST": lambda each: each.digest[:12],
        },
    )


@command.command()
@click.argument("version")
@connected
async def show(client: Client, output: Output, version: str) -> None:
    """Show a VERSION.

    VERSION is `digits` (the latest), `digits@2` or its full name.
    """
    output.resource(await client.models.get_version(version_name("models", version)))


@command.command()
@click.argument("version")
@click.option(
    "--download",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write evaluation.json, the pictures and the TensorBoard events below this folder.",
)
@connected
async def report(client: Client, output: Output, version: str, download: Path | None) -> None:
    """Tell how good a VERSION is.

    VERSION is `digits` (the latest), `digits@2` or its full name. Of a compressed version that is told of
    which it was made. As JSON: its evaluation.json.
    """
    from lepton_sdk.cli import report

    found = await client.models.evaluated(version_name("models", version))
    if download is not None:
        paths = await report.download(client, found, download)
        output.done("\n".join(f"wrote {path}" for path in paths), {"files": [str(path) for path in paths]})
        return
    document = await client.models.evaluation(found.name)
    if output.json:
        output.document(document)
    else:
        report.describe(output, found.name, document)


@command.command()
@click.argument("model")
@connected
async def delete(client: Client, output: Output, model: str) -> None:
    """Delete MODEL, or one version of it.

    `digits` is deleted with all its versions; `digits@2` is one of them. What is served cannot be deleted,
    save a version of a model that endpoints follow: they go on with those that are left.
    """
    if "@" in model or "/versions/" in model:
        name = version_name("models", model)
        await client.models.delete_version(name)
    else:
        name = full_name("models", model)
        await client.models.delete(name)
    output.done(f"deleted {name}", {"deleted": name})
