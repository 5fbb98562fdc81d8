"""The commands that every kind of job has: list, show, watch, cancel, delete."""

from collections.abc import Callable
from typing import Any

import click

from lepton_sdk.cli.arguments import full_name
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.progress import amount, follow
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import state_name

COLUMNS: dict[str, Callable[[Any], object]] = {
    "NAME": lambda job: job.name,
    "STATE": state_name,
    "PROGRESS": lambda job: amount(job.status.progress),
    "MODEL VERSION": lambda job: job.model_version,
    "MESSAGE": lambda job: job.status.error.message or job.status.message,
}


def add_job_commands(
    group: click.Group,
    collection: str,
    calls: Callable[[Client], Any],
    describe: Callable[[Output, Any], None],
) -> None:
    """Add the commands to a group.

    Args:
        group: the group to add to.
        collection: first segment of the jobs' names. Example: "trainingJobs".
        calls: the client's group of calls for this kind of job.
        describe: prints a job for a person.
    """

    @group.command("list")
    @connected
    async def list_(client: Client, output: Output) -> None:
        """List jobs, newest first."""
        output.resources(await calls(client).list(), COLUMNS)

    @group.command()
    @click.argument("job")
    @connected
    async def show(client: Client, output: Output, job: str) -> None:
        """Show JOB: what was asked, how far it is, what came out."""
        found = await calls(client).get(full_name(collection, job))
        output.resource(found, lambda: describe(output, found))

    @group.command()
    @click.argument("job")
    @connected
    async def watch(client: Client, output: Output, job: str) -> None:
        """Follow JOB to its end."""
        name = full_name(collection, job)
        ended = await follow(output, "job", name, updates=calls(client).watch(name))
        output.resource(ended, lambda: describe(output, ended))

    @group.command()
    @click.argument("job")
    @connected
    async def cancel(client: Client, output: Output, job: str) -> None:
        """Ask JOB to stop."""
        stopped = await calls(client).cancel(full_name(collection, job))
        output.done(
            f"{stopped.name}: {state_name(stopped).lower()}",
            {"state": state_name(stopped)},
        )

    @group.command()
    @click.argument("job")
    @connected
    async def delete(client: Client, output: Output, job: str) -> None:
        """Delete JOB, which must have ended. Its model version stays."""
        name = full_name(collection, job)
        await calls(client).delete(name)
        output.done(f"deleted {name}", {"deleted": name})
