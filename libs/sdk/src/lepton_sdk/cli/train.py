"""`lepton train`: train models."""

import uuid
from pathlib import Path

import click

from lepton.training.v1 import training_pb2
from lepton_common.errors import InvalidField
from lepton_sdk.cli.arguments import full_name, read_message, version_name
from lepton_sdk.cli.jobs import add_job_commands
from lepton_sdk.cli.output import Output, as_dict
from lepton_sdk.cli.progress import follow
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import state_name


@click.group()
def command() -> None:
    """Train models."""


@command.command()
@click.argument("dataset")
@click.option(
    "--model",
    default="",
    help="Model that the result becomes a version of.  [default: DATASET]",
)
@click.option(
    "--family",
    type=click.Choice(["cnn", "mlp", "resnet", "tcn", "two_tower", "wide_and_deep"]),
    help="Architecture, where --spec names none.",
)
@click.option(
    "--keras-config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File that a Keras model's to_json() was written to.",
)
@click.option(
    "--base-model",
    default="",
    help="Model version to begin with: the weights of its layers that fit are taken over.",
)
@click.option("--freeze", is_flag=True, help="Train none of what comes from --base-model but the head.")
@click.option("--epochs", type=int, default=0, help="Passes over the data at most.  [default: 20]")
@click.option("--batch-size", type=int, default=0, help="Records a step.  [default: 64]")
@click.option("--learning-rate", type=float, default=0.0, help="Step size.  [default: 0.001]")
@click.option("--seed", type=int, default=0, help="Seed of everything random.")
@click.option("--workers", type=int, default=0, help="Processes that train together.  [default: 1]")
@click.option("--xla", is_flag=True, help="Compile the steps with XLA: for small dense layers, or a GPU.")
@click.option("--gpus", type=int, default=0, help="In a cluster: GPUs of each process.")
@click.option("--gpu-product", default="", help="In a cluster: which GPU, as NVIDIA-H100-80GB-HBM3.")
@click.option("--queue", default="", help="In a cluster: the queue of Kueue that decides when it starts.")
@click.option(
    "--slice-column",
    "slice_columns",
    multiple=True,
    help="Tell the evaluation apart by this column's values too; may be given again.",
)
@click.option(
    "--private-epsilon",
    type=float,
    default=0.0,
    help="Train with differential privacy, with the least noise that spends no more than this.",
)
@click.option(
    "--noise-multiplier",
    type=float,
    default=0.0,
    help="Train with differential privacy, with so much noise.",
)
@click.option("--clip-norm", type=float, default=0.0, help="Norm of a private gradient.  [default: 1]")
@click.option("--spec", default="", help="TrainingSpec as JSON, or @FILE of JSON or YAML.")
@click.option("--id", "job_id", default="", help="Id of the job.  [default: made up]")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@connected
async def start(
    client: Client,
    output: Output,
    dataset: str,
    model: str,
    family: str | None,
    keras_config: Path | None,
    base_model: str,
    freeze: bool,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    workers: int,
    xla: bool,
    gpus: int,
    gpu_product: str,
    queue: str,
    slice_columns: tuple[str, ...],
    private_epsilon: float,
    noise_multiplier: float,
    clip_norm: float,
    spec: str,
    job_id: str,
    detach: bool,
) -> None:
    """Train on DATASET.

    DATASET is `digits` (the latest version), `digits@2` or a version's full name.
    """
    training = read_message(spec, training_pb2.TrainingSpec(), "--spec")
    training.dataset_version = version_name("datasets", dataset)
    stem = training.dataset_version.split("/")[1]
    training.model = full_name("models", model) if model else training.model or f"models/{stem}"
    if keras_config is not None:
        training.keras_config.json = _read_text(keras_config)
    elif family is not None:
        getattr(training, family).SetInParent()
    elif training.WhichOneof("architecture") is None:
        raise click.UsageError("say what to train: --family, --keras-config, or an architecture in --spec")
    if base_model:
        training.base_model.model_version = version_name("models", base_model)
    if freeze:
        if not training.HasField("base_model"):
            raise click.UsageError("--freeze goes with --base-model")
        training.base_model.freeze = True
    training.max_epochs = epochs or training.max_epochs
    training.batch_size = batch_size or training.batch_size
    training.seed = seed or training.seed
    training.workers = workers or training.workers
    training.xla = xla or training.xla
    if gpus or gpu_product or queue:
        placement = training.placement
        placement.gpus = gpus or placement.gpus
        placement.gpu_product = gpu_product or placement.gpu_product
        placement.queue = queue or placement.queue
    training.slice_columns.extend(slice_columns)
    training.optimizer.learning_rate = learning_rate or training.optimizer.learning_rate
    _make_private(training, epsilon=private_epsilon, noise_multiplier=noise_multiplier, clip_norm=clip_norm)
    job = await client.training.create(job_id or f"{stem[:40]}-{uuid.uuid4().hex[:8]}", training)
    if detach:
        output.done(job.name, {"name": job.name})
        return
    ended = await follow(output, "train", job.name, updates=client.training.watch(job.name))
    output.resource(ended, lambda: describe(output, ended))


def _make_private(
    training: training_pb2.TrainingSpec, *, epsilon: float, noise_multiplier: float, clip_norm: float
) -> None:
    """Write into a spec how a training is to be private, where an option says so."""
    if epsilon or noise_multiplier:
        training.privacy.epsilon = epsilon or training.privacy.epsilon
        training.privacy.noise_multiplier = noise_multiplier or training.privacy.noise_multiplier
    if clip_norm:
        if not training.HasField("privacy"):
            raise click.UsageError("--clip-norm goes with --private-epsilon or --noise-multiplier")
        training.privacy.clip_norm = clip_norm


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as wrong:
        raise InvalidField(f"--keras-config: {path} cannot be read: {wrong}") from wrong


@command.command()
@click.argument("job")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Write the curves to this file.")
@connected
async def plot(client: Client, output: Output, job: str, png: Path | None) -> None:
    """Draw the learning curves of JOB.

    In the terminal, or as a PNG. As JSON: their points.
    """
    from lepton_sdk import plots

    found = await client.training.get(full_name("trainingJobs", job))
    if png is not None:
        png.write_bytes(plots.curves_png(found.status.metrics, title=found.name))
        output.done(f"wrote {png}", {"png": str(png)})
    elif output.json:
        output.document([as_dict(series) for series in found.status.metrics])
    else:
        click.echo(plots.curves_text(found.status.metrics) or f"{found.name} has no metrics yet")


@command.command()
@click.argument("dataset")
@connected
async def privacy(client: Client, output: Output, dataset: str) -> None:
    """Show what is spent of the privacy of DATASET, and left."""
    ledger = await client.training.privacy_ledger(full_name("datasets", dataset))
    output.resource(ledger, lambda: _describe_ledger(output, ledger))


def _describe_ledger(output: Output, ledger: training_pb2.PrivacyLedger) -> None:
    spent = f"{ledger.dataset}: epsilon {ledger.epsilon_spent:.4g} is spent (delta {ledger.delta_spent:.3g})"
    if ledger.HasField("budget"):
        spent += f", {ledger.epsilon_left:.4g} of {ledger.budget.epsilon:g} is left"
    click.echo(spent)
    if ledger.spendings:
        output.table(
            ["TRAINING JOB", "DATASET VERSION", "EPSILON", "DELTA", "ACCEPTED"],
            [
                [
                    each.training_job,
                    each.dataset_version,
                    each.epsilon,
                    each.delta,
                    each.create_time.ToJsonString(),
                ]
                for each in ledger.spendings
            ],
        )


@command.command()
@click.argument("job")
@connected
async def logs(client: Client, output: Output, job: str) -> None:
    """Print what the workers of JOB wrote.

    Also those that were lost; the last MiB of each.
    """
    found = await client.training.logs(full_name("trainingJobs", job))
    if output.json:
        output.document([{"worker": log.worker, "text": log.text} for log in found])
        return
    for log in found:
        click.echo(f"--- {log.worker}")
        click.echo(log.text.rstrip())


@command.command()
@click.argument("job")
@connected
async def suspend(client: Client, output: Output, job: str) -> None:
    """Stop the workers of JOB until it is resumed.

    They keep their last step. The job leaves its place to others.
    """
    asked = await client.training.suspend(full_name("trainingJobs", job))
    output.done(f"{asked.name}: {state_name(asked).lower()}", {"state": state_name(asked)})


@command.command()
@click.argument("job")
@connected
async def resume(client: Client, output: Output, job: str) -> None:
    """Let JOB, which is suspended, go on from its last step."""
    asked = await client.training.resume(full_name("trainingJobs", job))
    output.done(f"{asked.name}: {state_name(asked).lower()}", {"state": state_name(asked)})


def describe(output: Output, job: training_pb2.TrainingJob) -> None:
    """Print a training job for a person."""
    click.echo(f"{job.name}: {state_name(job).lower()} {job.status.message}".rstrip())
    if job.status.error.message:
        click.echo(f"error: {job.status.error.message}")
    if job.spec.HasField("privacy"):
        asked = job.spec.privacy
        click.echo(
            f"privacy: epsilon {asked.epsilon:.4g}, delta {asked.delta:.3g} "
            f"(noise multiplier {asked.noise_multiplier:.4g}, clip norm {asked.clip_norm:g})"
        )
    if job.model_version:
        click.echo(f"model version: {job.model_version}")
    rows = [
        [each.name, len(each.points), each.points[-1].value] for each in job.status.metrics if each.points
    ]
    if rows:
        output.table(["METRIC", "POINTS", "LAST"], rows)


add_job_commands(command, "trainingJobs", lambda client: client.training, describe)
