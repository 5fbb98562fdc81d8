"""`lepton search`: search for the settings that train the best model."""

import uuid
from pathlib import Path
from typing import Any

import click

from lepton.training.v1 import study_pb2
from lepton_sdk.cli.arguments import full_name, read_message, version_name
from lepton_sdk.cli.jobs import add_job_commands
from lepton_sdk.cli.output import Output, as_dict
from lepton_sdk.cli.parameters import FORMS, read_parameter
from lepton_sdk.cli.progress import follow
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import state_name
from lepton_sdk.studies import setting

PRUNERS = ("median", "halving", "hyperband", "none")
HYPERBAND_BRACKETS = 3


@click.group()
def command() -> None:
    """Search for the settings that train the best model."""


@command.command()
@click.argument("dataset")
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="PATH=DOMAIN",
    help=f"A field of TrainingSpec to search, and its values: {FORMS}. Any number of times.",
)
@click.option(
    "--model",
    default="",
    help="Model that the best trial's becomes a version of.  [default: DATASET]",
)
@click.option(
    "--family",
    type=click.Choice(["cnn", "mlp", "resnet", "tcn", "two_tower", "wide_and_deep"]),
    help="Architecture, where --spec names none.",
)
@click.option("--epochs", type=int, default=0, help="Passes over the data of a trial at most.  [default: 20]")
@click.option("--trials", type=int, default=0, help="Trials in all.  [default: 20, or the whole grid]")
@click.option(
    "--parallel",
    type=int,
    default=0,
    help="Trials at once, as far as the service lets so many trainings run.  [default: 1]",
)
@click.option("--metric", default="", help="What makes a trial good.  [default: validation_loss]")
@click.option("--maximize", is_flag=True, help="Greater values of the metric are better.")
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid"]),
    help="How the next parameters are chosen.  [default: tpe]",
)
@click.option("--pruner", type=click.Choice(PRUNERS), help="When a trial is given up.  [default: none]")
@click.option("--timeout", type=int, default=0, help="Seconds to end after, with the best so far.")
@click.option("--seed", type=int, default=0, help="Seed of the sampler.")
@click.option("--spec", default="", help="StudySpec as JSON, or @FILE of JSON or YAML.")
@click.option("--id", "study_id", default="", help="Id of the study.  [default: made up]")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@connected
async def start(
    client: Client,
    output: Output,
    /,
    dataset: str,
    parameters: tuple[str, ...],
    model: str,
    family: str | None,
    epochs: int,
    spec: str,
    study_id: str,
    detach: bool,
    **how: Any,
) -> None:
    """Search for what trains best on DATASET.

    DATASET is `digits` (the latest version), `digits@2` or a version's full name. Example:

        lepton search start digits --family mlp --param 'optimizer.learning_rate=log(1e-4,1e-1)'
        --param 'batch_size=int(16,256,step=16)' --param 'mlp.hidden_units=choice([64],[64,32])'
    """
    study = read_message(spec, study_pb2.StudySpec(), "--spec")
    training = study.training
    training.dataset_version = version_name("datasets", dataset)
    stem = training.dataset_version.split("/")[1]
    training.model = full_name("models", model) if model else training.model or f"models/{stem}"
    if family is not None:
        getattr(training, family).SetInParent()
    elif training.WhichOneof("architecture") is None:
        raise click.UsageError("say what to train: --family, or an architecture in --spec")
    training.max_epochs = epochs or training.max_epochs
    study.parameters.extend(read_parameter(text) for text in parameters)
    if not study.parameters:
        raise click.UsageError("say what to search: --param, or parameters in --spec")
    _decide(study, **how)
    made = await client.studies.create(study_id or f"{stem[:39]}-{uuid.uuid4().hex[:8]}", study)
    if detach:
        output.done(made.name, {"name": made.name})
        return
    ended = await follow(output, "search", made.name, updates=client.studies.watch(made.name))
    output.resource(ended, lambda: describe(output, ended))


def _decide(
    study: study_pb2.StudySpec,
    *,
    trials: int,
    parallel: int,
    metric: str,
    maximize: bool,
    sampler: str | None,
    pruner: str | None,
    timeout: int,
    seed: int,
) -> None:
    """Write into a spec how to search, where an option says so."""
    study.trials = trials or study.trials
    study.parallel_trials = parallel or study.parallel_trials
    study.timeout_seconds = timeout or study.timeout_seconds
    study.seed = seed or study.seed
    study.objective.metric = metric or study.objective.metric
    if maximize:
        study.objective.direction = study_pb2.DIRECTION_MAXIMIZE
    if sampler is not None:
        study.sampler = study_pb2.Sampler.Value(f"SAMPLER_{sampler.upper()}")
    match pruner:
        case "median":
            study.median.SetInParent()
        case "halving":
            study.successive_halving.SetInParent()
        case "hyperband":
            study.successive_halving.brackets = HYPERBAND_BRACKETS
        case "none":
            study.ClearField("median")
            study.ClearField("successive_halving")


@command.command()
@click.argument("study")
@click.option(
    "--png", type=click.Path(path_type=Path, dir_okay=False), help="Write the picture to this file."
)
@connected
async def plot(client: Client, output: Output, study: str, png: Path | None) -> None:
    """Draw what the trials of STUDY came to.

    In the terminal, the values by trial; as a PNG, also which parameters mattered and how. As JSON: the
    trials.
    """
    from lepton_sdk import plots, study_plots

    found = await client.studies.get(full_name("studies", study))
    if png is not None:
        png.write_bytes(study_plots.study_png(found))
        output.done(f"wrote {png}", {"png": str(png)})
    elif output.json:
        output.document([as_dict(trial) for trial in found.trials])
    else:
        click.echo(plots.curves_text(found.status.metrics) or f"{found.name} has no trial with a value yet")


def describe(output: Output, study: study_pb2.Study) -> None:
    """Print a study for a person: every trial, and which is the best."""
    click.echo(f"{study.name}: {state_name(study).lower()} {study.status.message}".rstrip())
    if study.status.error.message:
        click.echo(f"error: {study.status.error.message}")
    if study.model_version:
        click.echo(f"model version: {study.model_version}")
    paths = [parameter.path for parameter in study.spec.parameters]
    if study.trials:
        output.table(
            ["TRIAL", "STATE", study.spec.objective.metric.upper(), "EPOCH", "SECONDS", *paths, ""],
            [
                [
                    trial.number,
                    study_pb2.TrialState.Name(trial.state).removeprefix("TRIAL_STATE_"),
                    trial.value if trial.HasField("value") else None,
                    trial.epoch or None,
                    _seconds(trial),
                    *(setting(trial.parameters[path]) for path in paths),
                    "best" if trial.number == study.best_trial else trial.message,
                ]
                for trial in study.trials
            ],
        )
    if study.importances:
        shares = sorted(study.importances.items(), key=lambda pair: -pair[1])
        click.echo("importance: " + "  ".join(f"{path} {share:.2f}" for path, share in shares))


def _seconds(trial: study_pb2.Trial) -> float | None:
    if not (trial.HasField("start_time") and trial.HasField("end_time")):
        return None
    return max(0, trial.end_time.ToNanoseconds() - trial.start_time.ToNanoseconds()) / 1e9


add_job_commands(command, "studies", lambda client: client.studies, describe)
