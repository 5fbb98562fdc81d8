"""`lepton status`: show what runs and how it is."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import asdict

import click

from lepton_common.errors import LeptonError
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import FINAL, Job

ANSWER_SECONDS = 3.0


@click.command()
@connected
async def command(client: Client, output: Output) -> None:
    """Show what runs and how it is.

    Every service, its health, and how much work is open. Ends with 5 if one does not answer.
    """
    addresses = asdict(client.addresses)
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
        output.document(
            {
                service: {"address": address, "health": state, "work": open_work}
                for service, address, state, open_work in rows
            }
        )
    else:
        output.table(
            ["SERVICE", "ADDRESS", "HEALTH", "WORK"],
            [[service.replace("_", "-"), *rest] for service, *rest in rows],
        )
    if any(state != "SERVING" for _, _, state, _ in rows):
        raise SystemExit(5)


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
