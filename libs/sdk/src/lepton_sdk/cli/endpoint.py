"""`lepton endpoint`: serve model versions under a name."""

import asyncio

import click

from lepton.endpoint.v1 import endpoint_pb2
from lepton_sdk.cli.arguments import full_name, version_name
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.endpoints import pool_trouble


@click.group()
def command() -> None:
    """Serve model versions under a name."""


def _targets(texts: tuple[str, ...]) -> dict[str, int]:
    targets = {}
    for text in texts:
        version, _, weight = text.partition("=")
        if weight and not weight.isdecimal():
            raise click.UsageError(f"{text!r}: the weight after = is a whole number")
        targets[version_name("models", version)] = int(weight or 100)
    return targets


@command.command()
@click.argument("endpoint")
@click.argument("targets", nargs=-1, required=True)
@click.option("--wait/--no-wait", default=True, help="Wait until a server answers.")
@click.option("--pool", default="", help="Pool of inference servers.  [default: where it is, or default]")
@connected
async def put(
    client: Client, output: Output, endpoint: str, targets: tuple[str, ...], wait: bool, pool: str
) -> None:
    """Serve TARGETS under ENDPOINT, whether or not it exists.

    A target is VERSION or VERSION=WEIGHT; requests are shared out by weight.

    \b
      lepton endpoint put digits digits@2
      lepton endpoint put digits digits@2=90 digits@3=10
      lepton endpoint put digits digits@2 --pool large
    """
    made = await client.endpoints.put(endpoint.removeprefix("endpoints/"), _targets(targets), pool=pool)
    if wait:
        made = await client.endpoints.wait_ready(made.name)
    trouble = pool_trouble(made, await client.endpoints.pools())
    output.resource(made, lambda: describe(output, made, trouble))


@command.command("list")
@connected
async def list_(client: Client, output: Output) -> None:
    """List endpoints."""
    endpoints, pools = await asyncio.gather(client.endpoints.list(), client.endpoints.pools())
    output.resources(
        endpoints,
        {
            "NAME": lambda each: each.name,
            "POOL": lambda each: each.pool,
            "TARGETS": lambda each: "  ".join(f"{t.model_version}={t.weight}" for t in each.targets),
            "READY ON": lambda each: len(
                {s.replica for s in each.serving if s.state == endpoint_pb2.SERVING_STATE_READY}
            ),
            "REASON": lambda each: "" if each.serving else pool_trouble(each, pools),
        },
    )


@command.command()
@click.argument("endpoint")
@connected
async def show(client: Client, output: Output, endpoint: str) -> None:
    """Show ENDPOINT and what every server says of it."""
    found = await client.endpoints.get(full_name("endpoints", endpoint))
    trouble = pool_trouble(found, await client.endpoints.pools())
    output.resource(found, lambda: describe(output, found, trouble))


@command.command()
@click.argument("endpoint")
@connected
async def delete(client: Client, output: Output, endpoint: str) -> None:
    """Stop serving under ENDPOINT."""
    name = full_name("endpoints", endpoint)
    await client.endpoints.delete(name)
    output.done(f"deleted {name}", {"deleted": name})


def describe(output: Output, endpoint: endpoint_pb2.Endpoint, trouble: str) -> None:
    """Print an endpoint for a person; `trouble` is why its pool lacks servers."""
    click.echo(f"{endpoint.name} in pool {endpoint.pool}")
    weights = {target.model_version: target.weight for target in endpoint.targets}
    served = [
        [
            status.model_version,
            weights.get(status.model_version, 0),
            status.replica,
            endpoint_pb2.ServingState.Name(status.state).removeprefix("SERVING_STATE_"),
            status.provider,
            status.reason,
        ]
        for status in endpoint.serving
    ]
    unseen = [
        [version, weight, "", "NOT LOADED", "", trouble or "no inference server has it yet"]
        for version, weight in weights.items()
        if all(status.model_version != version for status in endpoint.serving)
    ]
    output.table(["VERSION", "WEIGHT", "SERVER", "STATE", "PROVIDER", "REASON"], served + unseen)
