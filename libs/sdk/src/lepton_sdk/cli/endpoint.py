"""`lepton endpoint`: serve model versions under a name."""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import click
from google.protobuf.message import Message

from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.errors import NotFound
from lepton_sdk.cli.arguments import full_name, version_name
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.endpoints import pool_trouble

PROVIDERS = ("default", "cpu", "cuda", "tensorrt")

M = TypeVar("M", bound=Message)


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


def _follow(model: str, *, latest: int | None, all_versions: bool) -> endpoint_pb2.Follow | None:
    if not model:
        if latest is not None or all_versions:
            raise click.UsageError("--latest and --all-versions go with --follow")
        return None
    if all_versions:
        if latest is not None:
            raise click.UsageError("--latest or --all-versions, and not both")
        return endpoint_pb2.Follow(model=full_name("models", model), all=endpoint_pb2.AllVersions())
    versions = endpoint_pb2.LatestVersions(count=1 if latest is None else latest)
    return endpoint_pb2.Follow(model=full_name("models", model), latest=versions)


def _sizes(context: click.Context, parameter: click.Parameter, text: str | None) -> list[int] | None:
    if text is None:
        return None
    sizes = text.replace(",", " ").split()
    if not all(size.isdecimal() for size in sizes):
        raise click.BadParameter("whole numbers with a comma between them")
    return [int(size) for size in sizes]


def _provider(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    return name and f"PROVIDER_{'UNSPECIFIED' if name == 'default' else name.upper()}"


@command.command()
@click.argument("endpoint")
@click.argument("targets", nargs=-1)
@click.option("--wait/--no-wait", default=True, help="Wait until a server answers.")
@click.option("--pool", default="", help="Pool of inference servers.  [default: where it is, or default]")
@click.option("--follow", "model", default="", help="Serve the newest versions of this model, now and later.")
@click.option("--latest", type=click.IntRange(1, 32), help="With --follow: how many.  [default: 1]")
@click.option("--all-versions", is_flag=True, help="With --follow: all of them, the newest 32 at most.")
@click.option("--max-batch-size", type=int, help="Records that run together at most; 0: the default, 32.")
@click.option(
    "--max-queue-delay-microseconds", type=int, help="How long a request may wait for others; 0: not at all."
)
@click.option(
    "--preferred-batch-sizes", callback=_sizes, help="Sizes that need not wait any longer, as 8,16; '': none."
)
@click.option("--instances", type=int, help="Runs of a version at a time; 0: the default, 1.")
@click.option("--threads", type=int, help="Cores of a run; 0: what the servers are set to.")
@click.option(
    "--provider",
    type=click.Choice(PROVIDERS),
    callback=_provider,
    help="What runs the versions; default: what the servers are set to.",
)
@click.option("--warm-up-runs", type=int, help="Runs before a version answers; 0: the default, 1.")
@click.option("--response-cache-bytes", type=int, help="Bytes of responses to keep for the same request.")
@connected
async def put(
    client: Client,
    output: Output,
    endpoint: str,
    targets: tuple[str, ...],
    wait: bool,
    pool: str,
    model: str,
    latest: int | None,
    all_versions: bool,
    max_batch_size: int | None,
    max_queue_delay_microseconds: int | None,
    preferred_batch_sizes: list[int] | None,
    instances: int | None,
    threads: int | None,
    provider: str | None,
    warm_up_runs: int | None,
    response_cache_bytes: int | None,
) -> None:
    """Serve TARGETS under ENDPOINT, whether or not it exists.

    A target is VERSION or VERSION=WEIGHT; requests are shared out by weight. With --follow in place of
    TARGETS the newest version of a model has all the traffic, as soon as it is registered. What is left out
    stays as it is.

    \b
      lepton endpoint put digits digits@2
      lepton endpoint put digits digits@2=90 digits@3=10
      lepton endpoint put digits digits@2 --pool large
      lepton endpoint put digits --follow digits --latest 2
      lepton endpoint put digits --instances 2 --threads 1
    """
    follow = _follow(model, latest=latest, all_versions=all_versions)
    if follow is not None and targets:
        raise click.UsageError("TARGETS or --follow, and not both")
    shares = _targets(targets) if targets else None
    batching = {
        "max_batch_size": max_batch_size,
        "max_queue_delay_microseconds": max_queue_delay_microseconds,
        "preferred_batch_sizes": preferred_batch_sizes,
    }
    execution = {
        "instances": instances,
        "threads": threads,
        "provider": provider,
        "warm_up_runs": warm_up_runs,
    }
    settings = (*batching.values(), *execution.values(), response_cache_bytes)
    if not (shares or follow or pool) and all(value is None for value in settings):
        raise click.UsageError("say what to serve, with TARGETS or --follow, or what else to change")
    endpoint_id = endpoint.removeprefix("endpoints/")
    try:
        found = await client.endpoints.get(f"endpoints/{endpoint_id}")
    except NotFound:
        found = endpoint_pb2.Endpoint()
    made = await client.endpoints.put(
        endpoint_id,
        shares,
        follow=follow,
        batching=_changed(found.batching, batching),
        execution=_changed(found.execution, execution),
        response_cache_bytes=response_cache_bytes,
        pool=pool,
    )
    if wait:
        made = await client.endpoints.wait_ready(made.name)
    trouble = pool_trouble(made, await client.endpoints.pools())
    output.resource(made, lambda: describe(output, made, trouble))


def _changed(message: M, fields: Mapping[str, Any]) -> M | None:
    """The message with those fields that are not None; None if there are no such fields."""
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        message.ClearField(name)
    message.MergeFrom(type(message)(**given))
    return message if given else None


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
            "FOLLOWS": lambda each: _followed(each) if each.HasField("follow") else "",
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
    if endpoint.HasField("follow"):
        click.echo(f"follows {_followed(endpoint)}")
    if settings := _settings(endpoint):
        click.echo(", ".join(settings))
    weights = {target.model_version: target.weight for target in endpoint.targets}
    served = [
        [
            status.model_version,
            weights.get(status.model_version, 0),
            status.replica,
            endpoint_pb2.ServingState.Name(status.state).removeprefix("SERVING_STATE_"),
            f"{status.provider} {status.provider_share:.0%}" if status.provider else "",
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


def _followed(endpoint: endpoint_pb2.Endpoint) -> str:
    follow = endpoint.follow
    return f"{follow.model}, {'all' if follow.HasField('all') else f'latest {follow.latest.count or 1}'}"


def _settings(endpoint: endpoint_pb2.Endpoint) -> list[str]:
    """What an endpoint says of how it serves, as `instances 2`."""
    said = {
        field.name: value
        for message in (endpoint.batching, endpoint.execution)
        for field, value in message.ListFields()
    }
    if endpoint.response_cache_bytes:
        said["response_cache_bytes"] = endpoint.response_cache_bytes
    if endpoint.execution.provider:
        provider = endpoint_pb2.Provider.Name(endpoint.execution.provider)
        said["provider"] = provider.removeprefix("PROVIDER_").lower()
    if endpoint.batching.preferred_batch_sizes:
        said["preferred_batch_sizes"] = " ".join(map(str, endpoint.batching.preferred_batch_sizes))
    return [f"{name.replace('_', ' ')} {value}" for name, value in said.items()]
