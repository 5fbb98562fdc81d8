"""The part of a training job that needs TensorFlow: build, train, evaluate, and turn the model into files."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from lepton_common.errors import DependencyUnavailable, InvalidModel
from lepton_common.jobs import files
from lepton_common.jobs.worker import Worker
from lepton_learn.artifact import artifact_files, load_artifact
from lepton_learn.checkpoints import Checkpoints
from lepton_learn.examples import Examples
from lepton_learn.families import build_model, training_task
from lepton_learn.loop import Outcome, seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.recipe import Privacy, Recipe
from lepton_learn.schema import Batch
from lepton_learn.secret import kept
from lepton_learn.task import Task
from lepton_learn.transfer import transfer
from lepton_learn.transform import FittedTransform
from lepton_trainer.worker.forming import end_after, form_team
from lepton_trainer.worker.machine import own_cores
from lepton_trainer.worker.rendezvous import Meeting, Met, meet
from lepton_trainer.worker.report import evaluate

_MEETING_SECONDS = 600.0
"""How long a worker waits for its peers: a node that has to be made for one takes minutes."""
_NOTICE_SECONDS = 45.0
"""How long TensorFlow has to notice that a peer is gone; it takes up to ten seconds as a rule."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What came out of a training."""

    files: Mapping[str, bytes]
    """The model's files by path."""
    metrics: Mapping[str, float]
    """Figures of the test split; without one, of the validation split, prefixed `validation_`."""


def train_and_evaluate(
    worker: Worker,
    recipe: Recipe,
    *,
    transform: FittedTransform,
    examples: Mapping[Split, Examples],
    base: Path | None,
    slices: Callable[[Split], Batch],
) -> Trained:
    """Train a model on the training split, with the worker's peers, and measure it on the test split.

    All workers train; the first alone measures, so the others' result is empty.

    Args:
        worker: this one.
        recipe: what to train, and how.
        transform: the dataset's.
        examples: the dataset's splits.
        base: folder of the model to begin with; the worker's spec says whether what comes from it is frozen.
        slices: gives the raw columns of a split that the evaluation is told apart by.

    Raises:
        UnsafeModel, TooLarge, InvalidModel: the architecture cannot be trained on the dataset, or the base is
            no model that it could take weights from.
        DependencyUnavailable: the peers did not come in time.
        Cancelled: one of the workers was asked to stop.
    """
    _set_devices(worker)
    checkpoints = Checkpoints(worker.objects, f"{worker.prefix}/checkpoints", attempt=worker.attempt)
    meeting = Meeting(
        job=worker.job,
        peers=worker.peers,
        index=worker.index,
        seconds=_MEETING_SECONDS,
        stop_requested=lambda: worker.stop_requested,
        told=lambda come, of: worker.progress("waiting for workers", come, of, "worker"),
    )
    met = meet(meeting, lambda: {"attempt": worker.attempt, "checkpoint": checkpoints.latest()})
    worker.join(met.agreement["attempt"])
    key = met.agreement["checkpoint"]
    saved = checkpoints.read(key) if key else None
    team = form_team(worker)
    # Before the seed is set: what is drawn for the base changes nothing of what is drawn after it.
    before = None if base is None else load_artifact(base)[0]
    seed_everything(recipe.seed, xla=recipe.xla)
    training = examples[Split.TRAIN]
    try:
        with team.strategy.scope():
            model = build_model(
                recipe.architecture,
                transform,
                label_scale=training.label_scale,
                precision=recipe.precision,
            )
            if before is not None:
                taken = transfer(model, before, freeze=worker.spec["base"]["freeze"])
                _log.info("%d layers come from the base model: %s", len(taken), ", ".join(taken))
            task = training_task(recipe.architecture, model, transform, training=training)
        with met.together(lost=_end_soon):
            outcome = train(
                model,
                task,
                recipe=recipe,
                training=training,
                validation=examples[Split.VALIDATION],
                observer=worker,
                checkpoints=checkpoints,
                saved=saved,
                classes=transform.classes,
                team=team,
                secret=kept(worker.objects, f"{worker.prefix}/secret") if recipe.privacy else None,
            )
    except tf.errors.ResourceExhaustedError as error:
        raise InvalidModel(
            "training takes more memory than there is: a smaller model or batch_size may fit, or accumulation"
        ) from error
    if not team.leads:
        _wait_for_outcome(worker, met)
        return Trained({}, {})
    return _evaluate(
        worker,
        model,
        task,
        outcome,
        recipe=recipe,
        transform=transform,
        examples=examples,
        slices=slices,
    )


def _evaluate(
    worker: Worker,
    trained: keras.Model,
    task: Task,
    outcome: Outcome,
    *,
    recipe: Recipe,
    transform: FittedTransform,
    examples: Mapping[Split, Examples],
    slices: Callable[[Split], Batch],
) -> Trained:
    worker.progress("evaluating", 0)
    # What is measured is what is kept: a model of float32, on this process alone.
    model = build_model(
        recipe.architecture, transform, label_scale=examples[Split.TRAIN].label_scale, precision="float32"
    )
    model.set_weights(trained.get_weights())
    evaluation = evaluate(model, task, examples, transform=transform, slices=slices, outcome=outcome)
    epochs = {"epochs": float(len(outcome.history)), "best_epoch": float(outcome.best_epoch)}
    files = artifact_files(model, transform, history=outcome.history)
    promise = _promise(recipe.privacy) if recipe.privacy else {}
    return Trained({**files, **evaluation.files}, {**evaluation.metrics, **epochs, **promise})


def _promise(privacy: Privacy) -> dict[str, float]:
    return {"privacy_epsilon": privacy.epsilon, "privacy_delta": privacy.delta}


def _end_soon() -> None:
    """End the process if TensorFlow does not notice by itself that a peer is gone."""
    end_after(_NOTICE_SECONDS, "a worker was lost, and that was not noticed")


def _wait_for_outcome(worker: Worker, met: Met) -> None:
    """Wait until the first worker has ended: if it fails now all of them are needed again.

    Raises:
        DependencyUnavailable: it ended without an outcome.
    """
    met.wait_for_end()
    if files.read_outcome(worker.objects, worker.job, worker.attempt) is None:
        raise DependencyUnavailable("the first worker was lost after the training")


def _set_devices(worker: Worker) -> None:
    """Use the cores this process may use, and of a GPU's memory only what is needed."""
    cores = own_cores(peers=worker.peers, index=worker.index)
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
