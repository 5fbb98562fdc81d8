"""The part of a training job that needs TensorFlow: build, train, evaluate, and turn the model into files."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from lepton_common.errors import InvalidModel
from lepton_common.jobs.worker import Worker
from lepton_learn.artifact import artifact_files
from lepton_learn.checkpoints import Checkpoints
from lepton_learn.evaluation import evaluate
from lepton_learn.examples import Examples
from lepton_learn.families import build_model
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.recipe import Recipe
from lepton_learn.task import task_of
from lepton_learn.transform import FittedTransform

_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux tells a container's limit, as microseconds of every so many; `max` without one."""


@dataclass(frozen=True)
class Trained:
    """What came out of a training."""

    files: Mapping[str, bytes]
    """The model's files by path."""
    metrics: Mapping[str, float]
    """Figures of the test split; without one, of the validation split, prefixed `validation_`."""


def train_and_evaluate(
    worker: Worker, recipe: Recipe, *, transform: FittedTransform, examples: Mapping[Split, Examples]
) -> Trained:
    """Train a model on the training split and measure it on the test split.

    Raises:
        UnsafeModel, TooLarge, InvalidModel: the architecture cannot be trained on the dataset.
        Cancelled: the worker was asked to stop.
    """
    _set_devices()
    seed_everything(recipe.seed)
    try:
        return _train_and_evaluate(worker, recipe, transform=transform, examples=examples)
    except tf.errors.ResourceExhaustedError as error:
        raise InvalidModel(
            "training takes more memory than there is: a smaller model or batch_size may fit"
        ) from error


def _train_and_evaluate(
    worker: Worker, recipe: Recipe, *, transform: FittedTransform, examples: Mapping[Split, Examples]
) -> Trained:
    training = examples[Split.TRAIN]
    with tf.distribute.get_strategy().scope():
        model = build_model(recipe.architecture, transform, label_scale=training.label_scale)
        task = task_of(model, transform, label_scale=training.label_scale)
    outcome = train(
        model,
        task,
        recipe=recipe,
        training=training,
        validation=examples[Split.VALIDATION],
        observer=worker,
        checkpoints=Checkpoints(worker.objects, f"{worker.prefix}/checkpoints"),
    )
    worker.progress("evaluating", 0)
    held_out = next((split for split in (Split.TEST, Split.VALIDATION) if len(examples[split])), None)
    metrics: dict[str, float] = {}
    if held_out is not None:
        prefix = "" if held_out is Split.TEST else "validation_"
        figures = evaluate(model, task, examples[held_out], classes=transform.classes)
        metrics = {prefix + name: value for name, value in figures.items()}
    metrics |= {"epochs": float(len(outcome.history)), "best_epoch": float(outcome.best_epoch)}
    return Trained(artifact_files(model, transform, history=outcome.history), metrics)


def _set_devices() -> None:
    """Use the cores this process may use, and of a GPU's memory only what is needed."""
    cores = _available_cores()
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)


def _available_cores() -> int:
    """The cores of this process's share: TensorFlow sees a machine's, not those of a container's limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CPU_LIMIT.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))
