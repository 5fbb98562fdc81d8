"""An evaluation for a person, and the files it comes with.

`lepton_learn.scores.report` describes the document.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lepton.model.v1 import model_pb2
from lepton_common.errors import InvalidField
from lepton_sdk.cli.output import Output
from lepton_sdk.client import Client
from lepton_sdk.models import EVALUATION

FOLDERS = ("plots/", "tensorboard/")
MOST_COLUMNS = 12
"""Classes of a confusion matrix that a terminal is wide enough for."""
MOST_MISTAKES = 10


async def download(client: Client, version: model_pb2.ModelVersion, folder: Path) -> list[Path]:
    """Write a version's evaluation, pictures and events below a folder.

    Returns:
        Where they are.

    Raises:
        InvalidField: a path leaves the folder.
    """
    written = []
    for file in version.files:
        if file.path != EVALUATION and not file.path.startswith(FOLDERS):
            continue
        path = folder / file.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InvalidField(f"the path {file.path!r} leaves the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(await client.models.read_file(version.name, file.path))
        written.append(path)
    return written


def describe(output: Output, name: str, document: dict[str, Any]) -> None:
    """Print an evaluation as tables."""
    click.echo(
        f"{name}: {document['task']} of {document['label']!r}, "
        f"measured on the {document['records']:,} records of the {document['split']} split"
    )
    _table(output, "", ["FIGURE", "VALUE"], [[*figure] for figure in document["figures"].items()])
    if document["task"] == "classification":
        _describe_classes(output, document)
    elif document["task"] == "forecast":
        steps = ("step", "quantile_loss", "mae", "naive_mae")
        rows = [[each[name] for name in steps] for each in document["steps"]]
        _table(output, "by row that is forecast", [_head(name) for name in steps], rows)
        shares = [[f"{each['quantile']:g}", each["below"]] for each in document["quantiles"]]
        _table(output, "what came", ["QUANTILE", "WAS AT MOST THAT"], shares)
    else:
        shares = [[f"{each['share']:.0%}", each["value"]] for each in document["residuals"]["quantiles"]]
        _table(output, "predicted less true", ["OF ALL RECORDS", "AT MOST"], shares)
    for column in document["slices"]:
        _describe_slices(output, column)


def _describe_classes(output: Output, document: dict[str, Any]) -> None:
    names = ("records", "predicted", "precision", "recall", "f1")
    rows = [[each["name"], *(each[name] for name in names)] for each in document["classes"]]
    _table(output, "by class", ["CLASS", *(name.upper() for name in names)], rows)
    confusion, labels = document["confusion"], [each["name"] for each in document["classes"]]
    if confusion is not None and len(labels) <= MOST_COLUMNS:
        rows = [[label, *row] for label, row in zip(labels, confusion, strict=True)]
        _table(output, "confusion", ["TRUE \\ PREDICTED", *labels], rows)
    elif document["mistakes"]:
        heads = ("true", "predicted", "records")
        mistakes = [[each[head] for head in heads] for each in document["mistakes"][:MOST_MISTAKES]]
        _table(output, "most frequent mistakes", [head.upper() for head in heads], mistakes)
    if document.get("binary"):
        best = document["binary"]["thresholds"]
        kinds = ("f1", "youden")
        rates = ("threshold", "true_positive_rate", "false_positive_rate", "precision")
        _table(
            output,
            f"thresholds for {document['binary']['positive']!r}",
            ["BEST", *(_head(rate) for rate in rates)],
            [[kind, *(best[kind][rate] for rate in rates)] for kind in kinds],
        )


def _describe_slices(output: Output, column: dict[str, Any]) -> None:
    slices = column["slices"]
    names = [*slices[0]["figures"]]
    rows = [
        [
            f"{each['value']} (few)" if each["small"] else each["value"],
            each["records"],
            *(each["figures"][name] for name in names),
        ]
        for each in slices
    ]
    heads = [column["column"].upper(), "RECORDS", *(_head(name) for name in names)]
    _table(output, f"by {column['column']}", heads, rows)
    if column["left_out"]:
        click.echo(f"{column['left_out']:,} other values have fewer records")
    for name, gap in column["gaps"].items():
        told = "not to be known: fewer than two slices have enough records" if gap is None else f"{gap:.4g}"
        click.echo(f"{name.replace('_', ' ')}: {told}")


def _table(output: Output, title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    click.echo(f"\n{title}" if title else "")
    output.table(heads, rows)


def _head(name: str) -> str:
    return name.replace("_", " ").upper()
