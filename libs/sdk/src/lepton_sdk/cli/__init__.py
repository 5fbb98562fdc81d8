"""The `lepton` command.

Subcommands are imported when they are used, so that `lepton --help` answers at once.

Exit codes: 0 done; 1 the job or the service failed; 2 wrong usage; 3 not found; 4 refused (bad input, wrong
state, conflict); 5 a service does not answer, or not in time; 6 not allowed; 130 interrupted; 143 ended.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

COMMANDS = {
    "up": "Start every service on this machine.",
    "connect": "Reach the services of a cluster from here.",
    "status": "Show what runs and how it is.",
    "demo": "Carry real data through the whole story.",
    "run": "Run a pipeline file; run it again to resume it.",
    "dataset": "Bring records, build and look at versions.",
    "train": "Train models.",
    "search": "Search for the settings that train the best model.",
    "compress": "Make models small and fast.",
    "model": "Look at models and their versions.",
    "endpoint": "Serve model versions under a name.",
    "predict": "Ask an endpoint.",
    "agent": "Let agents act and learn.",
    "token": "Make a token for a caller of the services.",
    "lineage": "Walk from a model version back to its source files.",
}


class LazyGroup(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"lepton_sdk.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 no answer, 6 not allowed.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print the result. With json, progress and failures are JSON too, on stderr, one a line.",
)
@click.option(
    "--endpoints",
    type=click.Path(path_type=Path),
    help="The endpoints.json of the services.  [default: $LEPTON_ENDPOINTS, else ~/.lepton/endpoints.json]",
)
@click.version_option(package_name="lepton-sdk", message="%(version)s")
@click.pass_context
def command(context: click.Context, output: str, endpoints: Path | None) -> None:
    """Lepton: data in, models trained, compressed and served, agents that learn."""
    context.obj = {"output": output, "endpoints": endpoints}


def main() -> NoReturn:
    """Entry point of the `lepton` command."""
    # What the library under gRPC says of every attempt to connect is not for the user.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        sys.exit(command.main(prog_name="lepton", standalone_mode=False))
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except click.Abort:
        # An interrupt, which by itself click would end with 1.
        click.echo("interrupted", err=True)
        sys.exit(130)
