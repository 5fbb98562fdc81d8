"""`lepton connect`: reach the services of a cluster from here."""

import asyncio
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lepton_common.errors import LeptonError
from lepton_sdk import installation
from lepton_sdk.addresses import home
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.session import guarded
from lepton_sdk.forwarding import Forward
from lepton_sdk.kubectl import Kubectl
from lepton_sdk.ports import choose_addresses

FIRST_PORT = 7201


@click.command()
@click.option("--namespace", "-n", default="", help="Namespace of the release.  [default: the context's]")
@click.option("--release", default="lepton", show_default=True, help="Name that it was installed under.")
@click.option(
    "--context", "kube_context", default="", help="Context of the kubeconfig.  [default: the current]"
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Where addresses, token and certificates are written.  [default: ~/.lepton/RELEASE]",
)
@click.option(
    "--first-port",
    type=click.IntRange(0, 65530),
    default=FIRST_PORT,
    show_default=True,
    help="The services are at this port and the next five, where these are free; 0: any.",
)
@click.pass_context
def command(
    context: click.Context,
    namespace: str,
    release: str,
    kube_context: str,
    directory: Path | None,
    first_port: int,
) -> None:
    """Reach the services of a cluster from here.

    Needs kubectl, and the rights to forward ports and to read the release's Secrets. Forwards a port of this
    machine to every service until it is interrupted, and opens again what breaks off. Prints the environment
    that every other command, and every client of Lepton, is to have.
    """
    output = Output(context.find_root().obj["output"] == "json")
    kubectl = Kubectl(namespace=namespace, context=kube_context)
    folder = directory or home() / release
    guarded(lambda: _connect(output, kubectl, release, folder, first_port))


async def _connect(output: Output, kubectl: Kubectl, release: str, folder: Path, first_port: int) -> None:
    found = await installation.find(kubectl, release)
    addresses = choose_addresses(folder / "endpoints.json", first_port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def trouble(service: str, error: LeptonError) -> None:
        output.news(f"waiting for {service}: {error}", {"waiting": service, "reason": str(error)})

    forwards = [
        Forward(
            kubectl,
            found.services[service],
            port=int(address.rpartition(":")[2]),
            target=installation.PORT,
            on_trouble=trouble,
        )
        for service, address in asdict(addresses).items()
    ]
    stopped = asyncio.create_task(stop.wait())
    keeping = [asyncio.create_task(forward.keep_open()) for forward in forwards]
    opening = asyncio.gather(*(forward.opened.wait() for forward in forwards))
    try:
        await _first([opening, stopped, *keeping])
        if not stop.is_set():
            environment = installation.write(found, addresses, folder)
            _tell(output, environment, asdict(addresses))
            await _first([stopped, *keeping])
    finally:
        opening.cancel()
        for task in (stopped, *keeping):
            task.cancel()
        await asyncio.gather(stopped, *keeping, return_exceptions=True)


async def _first(waiting: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for the first of them, and raise what it raises."""
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _tell(output: Output, environment: dict[str, str], addresses: dict[str, str]) -> None:
    if output.json:
        output.document({"environment": environment, "addresses": addresses})
    else:
        for name, value in environment.items():
            click.echo(f"export {name}={shlex.quote(value)}")
    # What reads the pipe is to have it while this command goes on.
    sys.stdout.flush()
    output.news(
        "connected; type the lines above elsewhere, and stop with Ctrl-C here", {"state": "connected"}
    )
