"""`lepton compress`: make models small and fast."""

import uuid

import click

from lepton.compression.v1 import compression_pb2
from lepton_sdk.cli.arguments import full_name, read_message, version_name
from lepton_sdk.cli.jobs import add_job_commands
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.progress import follow
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import state_name

MAX_ACCURACY_DROP = 0.005


@click.group()
def command() -> None:
    """Make models small and fast."""


@command.command()
@click.argument("model")
@click.option(
    "--max-accuracy-drop",
    type=float,
    help=f"What may be lost, as a fraction.  [default: {MAX_ACCURACY_DROP}]",
)
@click.option(
    "--output-model",
    default="",
    help="Model that the result becomes a version of.  [default: MODEL]",
)
@click.option("--spec", default="", help="CompressionSpec as JSON, or @FILE of JSON or YAML.")
@click.option("--id", "job_id", default="", help="Id of the job.  [default: made up]")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@connected
async def start(
    client: Client,
    output: Output,
    model: str,
    max_accuracy_drop: float | None,
    output_model: str,
    spec: str,
    job_id: str,
    detach: bool,
) -> None:
    """Compress MODEL.

    MODEL is `digits` (the latest version), `digits@1` or a version's full name.
    """
    compression = read_message(
        spec, compression_pb2.CompressionSpec(max_accuracy_drop=MAX_ACCURACY_DROP), "--spec"
    )
    compression.model_version = version_name("models", model)
    if max_accuracy_drop is not None:
        compression.max_accuracy_drop = max_accuracy_drop
    if output_model:
        compression.model = full_name("models", output_model)
    stem = compression.model_version.split("/")[1]
    job = await client.compression.create(job_id or f"{stem[:40]}-{uuid.uuid4().hex[:8]}", compression)
    if detach:
        output.done(job.name, {"name": job.name})
        return
    ended = await follow(output, "compress", job.name, updates=client.compression.watch(job.name))
    output.resource(ended, lambda: describe(output, ended))


def describe(output: Output, job: compression_pb2.CompressionJob) -> None:
    """Print a compression job for a person: every candidate, and why it was not chosen."""
    click.echo(f"{job.name}: {state_name(job).lower()} {job.status.message}".rstrip())
    if job.status.error.message:
        click.echo(f"error: {job.status.error.message}")
    if job.model_version:
        click.echo(f"model version: {job.model_version}")
    if job.candidates:
        output.table(
            [
                "CANDIDATE",
                "BYTES",
                (job.candidates[0].metric or "score").upper(),
                "MS/1",
                "MS/32",
                "DIFFERENCE",
                "",
            ],
            [
                [
                    each.name,
                    each.size_bytes,
                    each.score,
                    each.latency_ms,
                    each.batch_latency_ms,
                    each.max_difference,
                    "selected" if each.selected else each.rejection,
                ]
                for each in job.candidates
            ],
        )


add_job_commands(command, "compressionJobs", lambda client: client.compression, describe)
