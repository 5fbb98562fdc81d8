"""What every subcommand does: connect, run, and end with the right exit code."""

import asyncio
import functools
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click
from grpc import RpcError

from lepton_common.errors import Code, LeptonError, WorkerLost
from lepton_sdk.addresses import Addresses
from lepton_sdk.cli.output import Output
from lepton_sdk.client import Client

EXIT_CODES = {
    Code.NOT_FOUND: 3,
    Code.INVALID_ARGUMENT: 4,
    Code.FAILED_PRECONDITION: 4,
    Code.ALREADY_EXISTS: 4,
    Code.ABORTED: 4,
    Code.OUT_OF_RANGE: 4,
    Code.UNIMPLEMENTED: 4,
    Code.UNAVAILABLE: 5,
    Code.DEADLINE_EXCEEDED: 5,
    Code.RESOURCE_EXHAUSTED: 5,
    Code.PERMISSION_DENIED: 6,
    Code.UNAUTHENTICATED: 6,
}
"""Everything else is 1."""

WAITING_SECONDS = 4.0
"""When the user is told what is waited for; `lepton status` has told of it itself by then."""

P = ParamSpec("P")


def connected(
    function: Callable[Concatenate[Client, Output, P], Awaitable[None]],
) -> Callable[P, None]:
    """Make a click command of a coroutine function that takes a client and an output first."""

    @functools.wraps(function)
    def command(*arguments: P.args, **named: P.kwargs) -> None:
        options = click.get_current_context().find_root().obj

        async def session() -> None:
            output = Output(options["output"] == "json")
            async with connection(output, options["endpoints"]) as client:
                await function(client, output, *arguments, **named)

        guarded(session)

    return command


@asynccontextmanager
async def connection(output: Output, endpoints: Path | None) -> AsyncIterator[Client]:
    """A client of the services that an `endpoints.json` names, by default the environment's; what it waits
    for is told."""
    async with Client(Addresses.read(endpoints)) as client:
        waiting = asyncio.create_task(_say_what_is_waited_for(client, output))
        try:
            yield client
        finally:
            waiting.cancel()


async def _say_what_is_waited_for(client: Client, output: Output) -> None:
    told: set[str] = set()
    while True:
        await asyncio.sleep(WAITING_SECONDS)
        for service, address in client.unreachable().items():
            if service not in told:
                told.add(service)
                output.news(f"waiting for {service.replace('_', '-')} at {address}", {"waiting": service})


def guarded(action: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run, and end the process with the exit code that a failure calls for."""
    try:
        asyncio.run(_ending_in_order(action))
    except LeptonError as error:
        report(str(error), error.reason, error)
        sys.exit(exit_code(error))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    except BrokenPipeError:
        # Whoever read the output has seen enough; click ends quietly.
        raise
    except OSError as failure:
        report(str(failure), "OS_ERROR")
        sys.exit(1)


async def _ending_in_order(action: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """On SIGTERM, and when the terminal is closed, put things in order as on Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` has it ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await action()


def exit_code(error: LeptonError) -> int:
    """What the process ends with; see the package's description."""
    return 1 if isinstance(error, WorkerLost) else EXIT_CODES.get(error.code, 1)


def report(message: str, reason: str, error: LeptonError | None = None) -> None:
    """Print a failure on stderr: what was wrong and, for fields, where."""
    options = click.get_current_context().find_root().obj or {}
    violations = error.violations if error else ()
    if options.get("output") == "json":
        document = {
            "reason": reason,
            "message": message,
            "metadata": error.metadata if error else {},
            "violations": [{"field": each.field, "description": each.description} for each in violations],
        }
        click.echo(json.dumps({"error": document}), err=True)
        return
    click.secho(f"error: {message}", fg="red", err=True)
    for each in violations:
        click.echo(f"  {each.field}: {each.description}", err=True)
    if error is not None and error.code == Code.UNAVAILABLE and isinstance(error.__cause__, RpcError):
        click.echo("`lepton status` shows which services answer; `lepton up` starts them here.", err=True)
