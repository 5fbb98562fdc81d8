"""`lepton dataset`: bring records, build and look at versions."""

import contextlib
from functools import partial
from pathlib import Path

import click

from lepton.dataset.v1 import dataset_pb2
from lepton_common.errors import AlreadyExists, InvalidField
from lepton_sdk.cli.arguments import full_name, read_message, version_name
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.progress import JobDisplay
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import state_name, wait

SPLITS = {
    "train": dataset_pb2.SPLIT_TRAIN,
    "validation": dataset_pb2.SPLIT_VALIDATION,
    "test": dataset_pb2.SPLIT_TEST,
}


@click.group()
def command() -> None:
    """Bring records, build and look at versions."""


@command.command()
@click.argument("dataset")
@click.option("--description", default="", help="What the records are.")
@click.option(
    "--privacy-epsilon",
    type=float,
    default=0.0,
    help="The most that all trainings on it may spend together; only private ones are accepted then.",
)
@click.option("--privacy-delta", type=float, default=0.0, help="The most of delta.  [default: any]")
@connected
async def create(
    client: Client,
    output: Output,
    dataset: str,
    description: str,
    privacy_epsilon: float,
    privacy_delta: float,
) -> None:
    """Make DATASET, empty, for files to be pushed to.

    To push to a dataset that is not there makes it too. A privacy budget is given here or never.
    """
    if privacy_delta and not privacy_epsilon:
        raise click.UsageError("--privacy-delta goes with --privacy-epsilon")
    budget = dataset_pb2.PrivacyBudget(epsilon=privacy_epsilon, delta=privacy_delta)
    name = full_name("datasets", dataset)
    made = await client.datasets.create(
        name.removeprefix("datasets/"),
        description=description,
        privacy_budget=budget if privacy_epsilon else None,
    )
    output.done(made.name, {"name": made.name})


@command.command()
@click.argument("dataset")
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--label",
    default="",
    help="Column that models learn to predict.  [default: by its name]",
)
@click.option("--time-column", default="", help="Of time series: the column that says when.")
@click.option(
    "--key-column",
    "key_columns",
    multiple=True,
    help="Of time series: a column that tells one series from another; may be repeated.",
)
@click.option(
    "--time-format",
    default="",
    help="Of time series: how times are written, as in strptime.  [default: ISO 8601, or numbers]",
)
@click.option("--window", type=int, default=0, help="Of time series: rows that a forecast is made from.")
@click.option("--horizon", type=int, default=0, help="Of time series: rows that are forecast.")
@click.option("--spec", default="", help="DatasetVersionSpec as JSON, or @FILE of JSON or YAML.")
@connected
async def push(
    client: Client,
    output: Output,
    dataset: str,
    sources: tuple[str, ...],
    label: str,
    time_column: str,
    key_columns: tuple[str, ...],
    time_format: str,
    window: int,
    horizon: int,
    spec: str,
) -> None:
    """Bring files to DATASET and build a version of them.

    A source is a path, or OPTIONS:PATH with options split by commas: the split all its records belong to
    (train, validation, test), and for IDX files the column it holds. Rows of time series are cut into
    windows, and divided by time.

    \b
      lepton dataset push iris iris.csv --label species
      lepton dataset push digits train:train.npz test:test.npz
      lepton dataset push fashion train,image:train-images.gz train,label:train-labels.gz
      lepton dataset push demand demand.csv --label kwh --time-column hour --window 168 --horizon 24
    """
    name = full_name("datasets", dataset)
    parsed = [_source(source) for source in sources]
    version = read_message(spec, dataset_pb2.DatasetVersionSpec(), "--spec")
    if label:
        version.schema.label = label
    series = dataset_pb2.Series(
        time_column=time_column,
        key_columns=key_columns,
        time_format=time_format,
        window=window,
        horizon=horizon,
    )
    if series != dataset_pb2.Series():
        version.schema.series.MergeFrom(series)
    # A dataset grows by pushing to it again.
    with contextlib.suppress(AlreadyExists):
        await client.datasets.create(name.removeprefix("datasets/"))
    with JobDisplay(output) as display:
        for source, path in parsed:
            upload = await client.datasets.upload(name, path, on_progress=partial(display.count, path.name))
            source.upload = upload.name
            version.sources.append(source)
        created = await client.datasets.create_version(name, version)
        built = await wait(
            client.datasets.watch_version(created.name),
            lambda changed: display.show("dataset", changed),
        )
    output.resource(built, lambda: _describe(output, built))


def _source(text: str) -> tuple[dataset_pb2.Source, Path]:
    path, options = Path(text), ""
    if not path.exists() and ":" in text:
        options, _, rest = text.partition(":")
        path = Path(rest)
    if not path.exists():
        raise InvalidField(f"there is no file or folder {path}")
    source = dataset_pb2.Source()
    for option in filter(None, options.split(",")):
        if option in SPLITS:
            source.split = SPLITS[option]
        else:
            source.column = option
    return source, path


def _describe(output: Output, version: dataset_pb2.DatasetVersion) -> None:
    counts = version.counts
    click.echo(
        f"{version.name}: {counts.train:,} training, {counts.validation:,} validation, {counts.test:,} test "
        f"records, {version.rejected:,} rejected, {version.size_bytes:,} bytes, digest {version.digest[:12]}"
    )
    if version.HasField("series"):
        _describe_series(output, version.series)
    columns = {each.column: each for each in version.statistics}
    rows = []
    for column in version.schema.columns:
        seen = columns.get(column.name, dataset_pb2.ColumnStatistics())
        kind = dataset_pb2.ColumnType.Name(column.type).removeprefix("COLUMN_TYPE_").lower()
        shape = "x".join(map(str, column.shape))
        role = "label" if column.name == version.schema.label else ""
        transform = dataset_pb2.Transform.Name(column.transform).removeprefix("TRANSFORM_").lower()
        rows.append(
            [
                column.name,
                f"{kind} {shape}".strip(),
                transform,
                role,
                seen.mean,
                seen.standard_deviation,
            ]
        )
    output.table(["COLUMN", "TYPE", "TRANSFORM", "ROLE", "MEAN", "STD"], rows)
    for rejection in version.rejections[:10]:
        click.echo(f"rejected: record {rejection.record} {rejection.column}: {rejection.message}")


def _describe_series(output: Output, series: dataset_pb2.SeriesStatistics) -> None:
    click.echo(
        f"{series.series:,} series of {series.rows:,} rows; step: {series.step}; gaps: {series.gaps:,}; "
        f"rows a season: {series.season:,}"
    )
    output.table(
        ["SPLIT", "FORECASTS FROM", "TO"],
        [
            [dataset_pb2.Split.Name(span.split).removeprefix("SPLIT_").lower(), span.first, span.last]
            for span in series.spans
        ],
    )


@command.command("list")
@connected
async def list_(client: Client, output: Output) -> None:
    """List datasets."""
    output.resources(
        await client.datasets.list(),
        {
            "NAME": lambda each: each.name,
            "DESCRIPTION": lambda each: each.description,
            "PRIVACY EPSILON": lambda each: each.privacy_budget.epsilon or None,
            "CREATED": lambda each: each.create_time.ToJsonString(),
        },
    )


@command.command()
@click.argument("dataset")
@connected
async def versions(client: Client, output: Output, dataset: str) -> None:
    """List the versions of DATASET, newest first."""
    output.resources(
        await client.datasets.versions(full_name("datasets", dataset)),
        {
            "NAME": lambda each: each.name,
            "STATE": state_name,
            "TRAIN": lambda each: each.counts.train,
            "VALIDATION": lambda each: each.counts.validation,
            "TEST": lambda each: each.counts.test,
            "REJECTED": lambda each: each.rejected,
            "DIGEST": lambda each: each.digest[:12],
        },
    )


@command.command()
@click.argument("version")
@connected
async def show(client: Client, output: Output, version: str) -> None:
    """Show a VERSION.

    VERSION is `digits` (the latest), `digits@2` or its full name.
    """
    found = await client.datasets.get_version(version_name("datasets", version))
    output.resource(found, lambda: _describe(output, found))


@command.command()
@click.argument("dataset")
@connected
async def delete(client: Client, output: Output, dataset: str) -> None:
    """Delete DATASET, or one version of it.

    `digits` is deleted with all it holds; `digits@2` is one version.
    """
    if "@" in dataset or "/versions/" in dataset:
        name = version_name("datasets", dataset)
        await client.datasets.delete_version(name)
    else:
        name = full_name("datasets", dataset)
        await client.datasets.delete(name)
    output.done(f"deleted {name}", {"deleted": name})
