"""`lepton up`: start every service on this machine."""

import asyncio
import signal
from dataclasses import asdict
from pathlib import Path

import click

from lepton_sdk.addresses import home
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.session import guarded
from lepton_sdk.local import FIRST_PORT, running


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Where everything is kept.  [default: ~/.lepton]",
)
@click.option(
    "--first-port",
    type=click.IntRange(0, 65530),
    default=FIRST_PORT,
    show_default=True,
    help="The services take this port and the next five, where these are free; 0: any.",
)
@click.pass_context
def command(context: click.Context, directory: Path | None, first_port: int) -> None:
    """Start every service on this machine.

    They run until this command is interrupted; one that dies is started again. What was stored is there
    at the next start, and jobs that were running go on.
    """
    output = Output(context.find_root().obj["output"] == "json")
    guarded(lambda: _up(output, directory or home(), first_port))


async def _up(output: Output, directory: Path, first_port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(directory, first_port=first_port) as cloud:
        if output.json:
            output.document(asdict(cloud.addresses) | {"endpoints": str(cloud.endpoints_file)})
        else:
            output.table(
                ["SERVICE", "ADDRESS", "LOG"],
                [
                    [
                        process.service.replace("_", "-"),
                        getattr(cloud.addresses, process.service),
                        str(process.log),
                    ]
                    for process in cloud.processes.values()
                ],
            )
            click.echo(f"addresses are in {cloud.endpoints_file}; stop with Ctrl-C")
        await stop.wait()
        output.news("stopping: finishing what is in flight", {"state": "stopping"})
