"""What every subcommand does: connect, run, print, and end with the right exit code."""

import asyncio
import functools
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from lepton_common.errors import Code, LeptonError
from lepton_sdk.addresses import Addresses
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

P = ParamSpec("P")


@dataclass(frozen=True)
class Output:
    """How results are printed."""

    json: bool

    def resources(self, items: Sequence[Message], columns: dict[str, Callable[[Any], object]]) -> None:
        """Print a list: JSON as one array, else a table of the columns."""
        if self.json:
            self.document([as_dict(item) for item in items])
            return
        self.table(
            [*columns],
            [[column(item) for column in columns.values()] for item in items],
        )

    def resource(self, item: Message) -> None:
        """Print one resource."""
        if self.json:
            self.document(as_dict(item))
            return
        import yaml

        click.echo(yaml.safe_dump(as_dict(item), sort_keys=False, allow_unicode=True).rstrip())

    def document(self, content: object) -> None:
        """Print JSON; on a stream of updates, one line each."""
        click.echo(json.dumps(content, indent=2))

    def line(self, content: object) -> None:
        """Print JSON on one line."""
        click.echo(json.dumps(content))

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table for a person."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for place, head in enumerate(heads):
            numeric = all(isinstance(row[place], int | float) for row in rows)
            table.add_column(head, justify="right" if rows and numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(cell(value) for value in row))
        Console().print(table)

    def done(self, message: str, content: object | None = None) -> None:
        """Say that something was done: a sentence, or JSON."""
        if self.json:
            self.document(content if content is not None else {"message": message})
        else:
            click.echo(message)


def cell(value: object) -> str:
    """A value as a table shows it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def as_dict(item: Message) -> dict[str, Any]:
    """A resource as JSON has it."""
    return MessageToDict(item, always_print_fields_with_no_presence=False)


def connected(
    function: Callable[Concatenate[Client, Output, P], Awaitable[None]],
) -> Callable[P, None]:
    """Make a click command of a coroutine function that takes a client and an output first."""

    @functools.wraps(function)
    def command(*arguments: P.args, **named: P.kwargs) -> None:
        options = click.get_current_context().find_root().obj

        async def session() -> None:
            async with Client(Addresses.read(options["endpoints"])) as client:
                await function(client, Output(options["output"] == "json"), *arguments, **named)

        guarded(lambda: asyncio.run(session()))

    return command


def guarded(action: Callable[[], None]) -> None:
    """Run, and end the process with the exit code that a failure calls for."""
    try:
        action()
    except LeptonError as error:
        report(error)
        sys.exit(EXIT_CODES.get(error.code, 1))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)


def report(error: LeptonError) -> None:
    """Print a failure: what was wrong and, for fields, where."""
    options = click.get_current_context().find_root().obj or {}
    violations = [{"field": each.field, "description": each.description} for each in error.violations]
    if options.get("output") == "json":
        details = {
            "reason": error.reason,
            "message": str(error),
            "metadata": dict(error.metadata),
        }
        click.echo(json.dumps({"error": details | {"violations": violations}}), err=True)
        return
    click.secho(f"error: {error}", fg="red", err=True)
    for violation in violations:
        click.echo(f"  {violation['field']}: {violation['description']}", err=True)


def full_name(collection: str, name: str) -> str:
    """`datasets/digits` for either `digits` or `datasets/digits`."""
    return name if name.startswith(f"{collection}/") else f"{collection}/{name}"


def version_name(collection: str, name: str) -> str:
    """`models/digits/versions/3` for itself, `digits/3`, `digits@3`, or `digits` (the latest)."""
    if "/versions/" in name:
        return full_name(collection, name)
    stem, _, version = name.removeprefix(f"{collection}/").replace("@", "/").partition("/")
    return f"{collection}/{stem}/versions/{version or 'latest'}"


def read_message(text: str | None, message: Any, where: str) -> Any:
    """A message from JSON text, or from a JSON or YAML file as `@file`."""
    from google.protobuf.json_format import ParseDict, ParseError

    from lepton_common.errors import InvalidField

    if not text:
        return message
    import yaml

    try:
        content = yaml.safe_load(Path(text[1:]).read_text() if text.startswith("@") else text)
        return ParseDict(content or {}, message)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ParseError) as wrong:
        raise InvalidField(f"{where}: {wrong}") from wrong
