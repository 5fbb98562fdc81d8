"""`lepton demo`: carry real data through the whole story."""

from pathlib import Path

import click

from lepton_sdk.cli.output import Output
from lepton_sdk.cli.progress import JobDisplay
from lepton_sdk.cli.run import PipelineDisplay
from lepton_sdk.cli.session import guarded


@click.command()
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("build/demo"),
    show_default=True,
    help="Folder of the report.",
)
@click.option(
    "--fashion-mnist",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Use Fashion-MNIST from the IDX files in this folder instead of the digits.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with what the last demo has stored, instead of afresh.",
)
@click.pass_context
def command(context: click.Context, report: Path, fashion_mnist: Path | None, resume: bool) -> None:
    """Carry real data through the whole story.

    Starts every service. Images become a dataset version, a trained, a compressed and a served model, and
    an agent learns to balance a pole. Writes report.html and report.json.
    """
    output = Output(context.find_root().obj["output"] == "json")
    guarded(lambda: _demo(output, report, fashion_mnist, resume=resume))


async def _demo(output: Output, folder: Path, fashion_mnist: Path | None, *, resume: bool) -> None:
    from lepton_sdk import plots
    from lepton_sdk.client import Client
    from lepton_sdk.demo import data, report, story
    from lepton_sdk.local import clear, running

    images = data.fashion(fashion_mnist) if fashion_mnist else data.digits(folder / "data")
    if not resume:
        await clear(folder / "cloud")
    async with running(folder / "cloud") as cloud, Client(cloud.addresses) as client:
        with JobDisplay(output) as display:
            told = await story.tell(client, images, folder, PipelineDisplay(output, display))
        report.write(told, folder)
        if output.json:
            output.document(told.figures())
            return
        assert told.outcome.learning_run is not None and told.outcome.training_job is not None
        click.echo(plots.curves_text(told.outcome.training_job.status.metrics))
        output.table(
            ["", "as trained (fp32)", f"as served ({told.chosen.name})"],
            report.summary(told),
        )
        click.echo(f"report: {folder / 'report.html'}")
