"""`lepton status`: show what runs and how it is."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import asdict

import click

from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.errors import LeptonError
from lepton_sdk.cli.output import Output, as_dict
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import FINAL, Job

ANSWER_SECONDS = 3.0


@click.command()
@connected
async def command(client: Client, output: Output) -> None:
    """Show what runs and how it is.

    Every service, its health, and how much work is open, and the pools of inference servers with the reason
    where servers are missing. Ends with 5 if a service does not answer.
    """
    addresses = asdict(client.addresses)
    pools = asyncio.create_task(_pools(client))
    health = asyncio.gather(*(client.health(service, seconds=ANSWER_SECONDS) for service in addresses))
    work = asyncio.gather(
        _count("datasets", client.datasets.list()),
        _open_jobs(client.training.list()),
        _open_jobs(client.compression.list()),
        _count("models", client.models.list()),
        _count("endpoints", client.endpoints.list()),
        _count("agents", client.agents.list()),
    )
    rows = list(zip(addresses, addresses.values(), await health, await work, strict=True))
    if output.json:
        services = {
            service: {"address": address, "health": state, "work": open_work}
            for service, address, state, open_work in rows
        }
        output.document({**services, "pools": [as_dict(pool) for pool in await pools]})
    else:
        output.table(
            ["SERVICE", "ADDRESS", "HEALTH", "WORK"],
            [[service.replace("_", "-"), *rest] for service, *rest in rows],
        )
        if found := await pools:
            click.echo()
            output.table(
                ["POOL", "SERVERS", "DEVICE", "PROVIDERS", "REASON"],
                [
                    [
                        pool.name,
                        f"{pool.ready} of {pool.wanted}",
                        ", ".join(sorted({each.device for each in pool.replicas})),
                        ", ".join(sorted({each for replica in pool.replicas for each in replica.providers})),
                        pool.message,
                    ]
                    for pool in found
                ],
            )
    if any(state != "SERVING" for _, _, state, _ in rows):
        raise SystemExit(5)


async def _pools(client: Client) -> Sequence[endpoint_pb2.Pool]:
    try:
        return await asyncio.wait_for(client.endpoints.pools(), ANSWER_SECONDS)
    except (LeptonError, TimeoutError):
        return ()


async def _open_jobs(listing: Awaitable[Sequence[Job]]) -> str:
    try:
        jobs = await asyncio.wait_for(listing, ANSWER_SECONDS)
    except (LeptonError, TimeoutError):
        return "?"
    return f"{sum(job.status.state not in FINAL for job in jobs)} open of {len(jobs)} jobs"


async def _count(noun: str, listing: Awaitable[Sequence[object]]) -> str:
    try:
        return f"{len(await asyncio.wait_for(listing, ANSWER_SECONDS))} {noun}"
    except (LeptonError, TimeoutError):
        return f"? {noun}"
