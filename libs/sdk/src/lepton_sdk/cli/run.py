"""`lepton run`: run a pipeline file."""

import asyncio
from pathlib import Path

import click

from lepton_sdk import pipeline
from lepton_sdk.cli.output import Output, as_dict
from lepton_sdk.cli.progress import JobDisplay
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import Job


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@connected
async def command(client: Client, output: Output, file: Path) -> None:
    """Run a pipeline file; run it again to resume it.

    What is done already is found and not done again, what is under way is followed.
    """
    wanted = await asyncio.to_thread(pipeline.load, file)
    with JobDisplay(output) as display:
        outcome = await pipeline.run(client, wanted, PipelineDisplay(output, display))
    made = {
        "dataset": outcome.dataset_version,
        "train": outcome.training_job,
        "search": outcome.study,
        "compress": outcome.compression_job,
        "agent": outcome.learning_run,
    }
    if output.json:
        document = {stage: as_dict(resource) for stage, resource in made.items() if resource is not None}
        output.document(document | {"endpoint": outcome.endpoint, "reused": outcome.reused})
        return
    rows = [
        [
            stage,
            resource.name,
            getattr(resource, "model_version", ""),
            "found" if stage in outcome.reused else "made",
        ]
        for stage, resource in made.items()
        if resource is not None
    ]
    if outcome.endpoint:
        rows.append(["endpoint", f"endpoints/{outcome.endpoint}", "", "ready"])
    output.table(["STAGE", "RESOURCE", "MODEL VERSION", ""], rows)


class PipelineDisplay(pipeline.Watcher):
    """Shows the stages of a pipeline as they go."""

    def __init__(self, output: Output, display: JobDisplay) -> None:
        self._output = output
        self._display = display

    def stage(self, stage: str, resource: str) -> None:
        self._output.news(f"{stage}: {resource}", {"stage": stage, "name": resource})

    def uploaded(self, filename: str, done: int, total: int) -> None:
        self._display.count(filename, done, total)

    def job(self, stage: str, job: Job) -> None:
        self._display.show(stage, job)
