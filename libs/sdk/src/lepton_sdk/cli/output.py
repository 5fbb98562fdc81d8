"""How results are printed: tables and sentences for people, JSON for scripts.

The result goes to stdout, with `-o json` as one JSON document. What happens on the way there (progress, what
is waited for, failures) goes to stderr, with `-o json` as one JSON document a line.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

PIPE_WIDTH = 10_000
"""Columns of what is not a terminal: a line is never folded there."""


@dataclass(frozen=True)
class Output:
    """How results are printed."""

    json: bool

    def resources(self, items: Sequence[Message], columns: dict[str, Callable[[Any], object]]) -> None:
        """Print a list: JSON as one array, else a table of the columns."""
        if self.json:
            self.document([as_dict(item) for item in items])
            return
        self.table([*columns], [[column(item) for column in columns.values()] for item in items])

    def resource(self, item: Message, describe: Callable[[], None] | None = None) -> None:
        """Print one resource: JSON, else what `describe` prints, else YAML."""
        if self.json:
            self.document(as_dict(item))
        elif describe is not None:
            describe()
        else:
            import yaml

            click.echo(yaml.safe_dump(as_dict(item), sort_keys=False, allow_unicode=True).rstrip())

    def document(self, content: object) -> None:
        """Print JSON."""
        click.echo(json.dumps(_standard(content), indent=2))

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table for a person: as wide as a terminal, or a line a row for `grep` and the like."""
        numeric = [bool(rows) and all(map(_is_number, column)) for column in zip(*rows, strict=True)]
        numeric = numeric or [False] * len(heads)
        cells = [[cell(value) for value in row] for row in rows]
        if not sys.stdout.isatty():
            widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
            for row in (heads, *cells):
                aligned = (
                    text.rjust(width) if right else text.ljust(width)
                    for text, width, right in zip(row, widths, numeric, strict=True)
                )
                click.echo("  ".join(aligned).rstrip())
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for head, right in zip(heads, numeric, strict=True):
            table.add_column(head, justify="right" if right else "left", overflow="fold")
        for row in cells:
            table.add_row(*row)
        self.show(table)

    def show(self, picture: object) -> None:
        """Print something that rich can draw."""
        from rich.console import Console

        # What users called their things is no markup.
        console = Console(markup=False, highlight=False, emoji=False)
        if not sys.stdout.isatty():
            console.width = PIPE_WIDTH
        console.print(picture)

    def done(self, message: str, content: object) -> None:
        """Say that something was done: a sentence, or JSON."""
        if self.json:
            self.document(content)
        else:
            click.echo(message)

    def news(self, message: str, content: object) -> None:
        """Say on stderr what happens: a sentence, or a line of JSON."""
        # Not by click, which looks behind the stream that keeps lines and progress bars apart.
        sys.stderr.write(f"{json.dumps(_standard(content)) if self.json else message}\n")
        sys.stderr.flush()


def _is_number(value: object) -> bool:
    # What is not known is an empty cell among numbers.
    return value is None or isinstance(value, int | float)


def cell(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def as_dict(item: Message) -> dict[str, Any]:
    """A resource as JSON has it."""
    return MessageToDict(item, always_print_fields_with_no_presence=False)


def _standard(content: Any) -> Any:
    """The same without numbers that JSON does not have: they become texts, as protobuf's JSON has them."""
    if isinstance(content, Mapping):
        return {key: _standard(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_standard(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    return content
