"""`lepton demo`: carry real data through the whole story."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lepton_sdk.cli.output import Output
from lepton_sdk.cli.progress import JobDisplay
from lepton_sdk.cli.run import PipelineDisplay
from lepton_sdk.cli.session import connection, guarded

if TYPE_CHECKING:
    from lepton_sdk.client import Client
    from lepton_sdk.demo.data import Images
    from lepton_sdk.demo.story import Story, Telling

NAME = "demo"


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
@click.option(
    "--running",
    "on_running",
    is_flag=True,
    help="Use the services that run already, as every other command does. What was made before is found.",
)
@click.option(
    "--name", default="", help=f"With --running: what its resources' names begin with.  [default: {NAME}]"
)
@click.option("--clean", is_flag=True, help="With --running: delete in the end all that it has made.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the data at most.  [default: 30, or 3]")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that train together."
)
@click.option("--gpus", type=click.IntRange(0), default=0, help="In a cluster: GPUs of each process.")
@click.option(
    "--agent-steps", type=click.IntRange(1), help="Steps that the agent learns from.  [default: 50000]"
)
@click.pass_context
def command(
    context: click.Context,
    report: Path,
    fashion_mnist: Path | None,
    resume: bool,
    on_running: bool,
    name: str,
    clean: bool,
    epochs: int | None,
    workers: int,
    gpus: int,
    agent_steps: int | None,
) -> None:
    """Carry real data through the whole story.

    Starts every service. Images become a dataset version, a trained, a compressed and a served model, and
    an agent learns to balance a pole. Writes report.html and report.json.

    With --running nothing is started. Told again under the same name and with the same options, what is done
    is found and the endpoint asked anew; another name tells it afresh.
    """
    if resume and on_running:
        raise click.UsageError("--resume is for services of its own: with --running what is done is found")
    if not on_running and (name or clean):
        raise click.UsageError("--name and --clean go with --running")
    options = context.find_root().obj
    output = Output(options["output"] == "json")

    async def demo() -> None:
        from lepton_sdk.demo import data
        from lepton_sdk.demo.story import AGENT_STEPS, Telling

        images = data.fashion(fashion_mnist) if fashion_mnist else data.digits(report / "data")
        prefix = f"{name or NAME}-" if on_running else ""
        telling = Telling(
            name=f"{prefix}{images.name}",
            agent=f"{prefix}cartpole",
            epochs=epochs or 0,
            workers=workers,
            gpus=gpus,
            agent_steps=agent_steps or AGENT_STEPS,
        )
        if on_running:
            async with connection(output, options["endpoints"]) as client:
                await _tell(client, output, images, report, telling, clean=clean)
        else:
            await _tell_here(output, images, report, telling, resume=resume)

    guarded(demo)


async def _tell_here(output: Output, images: Images, folder: Path, telling: Telling, *, resume: bool) -> None:
    from lepton_sdk.client import Client
    from lepton_sdk.local import clear, running

    if not resume:
        await clear(folder / "cloud")
    async with running(folder / "cloud") as cloud, Client(cloud.addresses) as client:
        await _tell(client, output, images, folder, telling)


async def _tell(
    client: Client,
    output: Output,
    images: Images,
    folder: Path,
    telling: Telling,
    *,
    clean: bool = False,
) -> None:
    from lepton_sdk.demo import report, story

    with JobDisplay(output) as display:
        told = await story.tell(client, images, folder, telling, PipelineDisplay(output, display))
    report.write(told, folder)
    if clean:
        await story.remove(client, told.outcome, telling)
        output.news(f"deleted: {telling.name}, {telling.agent}", {"deleted": [telling.name, telling.agent]})
    _print(output, told, folder)


def _print(output: Output, told: Story, folder: Path) -> None:
    from lepton_sdk import plots
    from lepton_sdk.demo import report

    if output.json:
        output.document(told.figures())
        return
    assert told.outcome.training_job is not None
    click.echo(plots.curves_text(told.outcome.training_job.status.metrics))
    output.table(
        ["", "as trained (fp32)", f"as served ({told.chosen.name})"],
        report.summary(told),
    )
    click.echo(f"report: {folder / 'report.html'}")
