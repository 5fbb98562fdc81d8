"""`lepton status`: show what runs and how it is."""

import asyncio
from dataclasses import asdict

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lepton_common.errors import LeptonError
from lepton_common.rpc import connect

from lepton_sdk.cli.session import Output, connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import FINAL


@click.command()
@connected
async def command(client: Client, output: Output) -> None:
    """Show every service, its health, and how much work is open. Ends with 5 if a service does not answer."""
    addresses = asdict(client.addresses)
    health = dict(
        zip(
            addresses,
            await asyncio.gather(*map(_health, addresses.values())),
            strict=True,
        )
    )
    work = {
        "trainer": await _open_jobs(client.training.list()),
        "compressor": await _open_jobs(client.compression.list()),
        "registry": await _count(client.models.list(), "models", client.endpoints.list(), "endpoints"),
        "data_ingest": await _count(client.datasets.list(), "datasets"),
        "rl_agent": await _count(client.agents.list(), "agents"),
    }
    if output.json:
        output.document(
            {
                service: {
                    "address": address,
                    "health": health[service],
                    "work": work.get(service, ""),
                }
                for service, address in addresses.items()
            }
        )
    else:
        rows = [
            [service.replace("_", "-"), address, health[service], work.get(service, "")]
            for service, address in addresses.items()
        ]
        output.table(["SERVICE", "ADDRESS", "HEALTH", "WORK"], rows)
    if any(state != "SERVING" for state in health.values()):
        click.get_current_context().exit(5)


async def _health(address: str) -> str:
    async with connect(address) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=3
            )
        except grpc.aio.AioRpcError as failure:
            return f"NO ANSWER ({failure.code().name})"
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def _open_jobs(listing) -> str:  # type: ignore[no-untyped-def]
    try:
        jobs = await asyncio.wait_for(listing, 3)
    except (LeptonError, TimeoutError):
        return "?"
    return f"{sum(job.status.state not in FINAL for job in jobs)} open of {len(jobs)} jobs"


async def _count(*listings) -> str:  # type: ignore[no-untyped-def]
    counts = []
    for listing, noun in zip(listings[::2], listings[1::2], strict=True):
        try:
            counts.append(f"{len(await asyncio.wait_for(listing, 3))} {noun}")
        except (LeptonError, TimeoutError):
            counts.append(f"? {noun}")
    return ", ".join(counts)
