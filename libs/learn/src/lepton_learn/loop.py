"""The training loop: seeded, stopping when the loss no longer falls, and able to go on where it was killed.

Each step updates theta -= alpha dL/dtheta (or Adam's form of it, Kingma and Ba, 2015), L the mean loss over
the global batch and its gradient found by automatic differentiation, which is back-propagation. It runs under
whatever `tf.distribute` strategy is in scope: losses are averaged over the global batch and the optimizer
sums gradients over the replicas.

The order of the records is a permutation of (seed, epoch) and the state at the end of each epoch is whole, so
a run that was killed and resumed ends with the very weights of one that was not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import tensorflow as tf

from lepton_common.errors import Cancelled, InvalidModel
from lepton_learn.batches import Batches
from lepton_learn.checkpoints import Checkpoints, State, restore, snapshot
from lepton_learn.evaluation import Evaluator
from lepton_learn.examples import Examples
from lepton_learn.recipe import Optimizer, Recipe
from lepton_learn.task import Task


class Observer(Protocol):
    """Who is told how a training goes."""

    @property
    def stop_requested(self) -> bool:
        """Whether to stop after the step at hand."""

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        """So many steps are done."""

    def metric(self, name: str, step: int, value: float) -> None:
        """A figure of an epoch, counted from 1."""

    def flush(self) -> None:
        """Write down what was told: the checkpoint that is saved next does not tell it again."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training went. The model holds the weights of the best epoch."""

    history: tuple[dict[str, float], ...]
    """By epoch: `loss`, and the figures of the validation split, prefixed `validation_`."""
    best_epoch: int
    """The epoch with the lowest loss, counted from 1."""
    converged: bool
    """Whether it ended because the loss no longer fell."""


def seed_everything(seed: int) -> None:
    """Make what follows in this process depend on the seed alone.

    That goes for weights and dropout, and for the order in which parallel threads add up.
    """
    keras.utils.set_random_seed(seed % 2**32)
    tf.config.experimental.enable_op_determinism()


def build_optimizer(recipe: Optimizer) -> keras.optimizers.Optimizer:
    """The update rule. Call it in the strategy's scope."""
    if recipe.kind == "sgd":
        return keras.optimizers.SGD(recipe.learning_rate, momentum=recipe.momentum)
    return keras.optimizers.Adam(recipe.learning_rate)


def train(
    model: keras.Model,
    task: Task,
    *,
    recipe: Recipe,
    training: Examples,
    validation: Examples,
    observer: Observer,
    checkpoints: Checkpoints | None = None,
) -> Outcome:
    """Train a model in place, from its last checkpoint if there is one.

    Args:
        model: with fresh weights; at the end it holds those of the best epoch.
        task: judges its outputs.
        recipe: how to train; its architecture is not looked at.
        training: what to learn from, at least one record.
        validation: decides when to stop and what to keep; if it is empty, the training loss decides.
        observer: is told every step and epoch.
        checkpoints: where the state is kept at the end of each epoch.

    Raises:
        Cancelled: the observer asked to stop. The last whole epoch is in the checkpoints.
        InvalidModel: the loss stopped being a number before a single epoch ended well.
    """
    strategy = tf.distribute.get_strategy()
    with strategy.scope():
        optimizer = build_optimizer(recipe.optimizer)
        optimizer.build(model.trainable_variables)
    batches = Batches(training, size=recipe.batch_size, seed=recipe.seed)
    step = _training_step(model, task, optimizer)
    evaluator = Evaluator(model, task)
    state = State.fresh()
    if checkpoints is not None and (saved := checkpoints.latest()) is not None:
        state = restore(saved, model, optimizer)

    while not _is_over(state, recipe):
        loss = _run_epoch(step, batches, state.epoch, recipe=recipe, observer=observer)
        figures = {"loss": loss}
        if len(validation):
            observed = evaluator.measure(validation)
            figures |= {f"validation_{name}": value for name, value in observed.items()}
        state = _advance(state, figures, model, min_delta=recipe.convergence.min_delta)
        for name, value in figures.items():
            observer.metric(name, state.epoch, value)
        if checkpoints is not None:
            observer.flush()
            checkpoints.save(state.epoch, snapshot(state, model, optimizer))

    model.set_weights(state.best_weights)
    return Outcome(
        history=state.history,
        best_epoch=state.best_epoch,
        converged=state.epoch < recipe.max_epochs and math.isfinite(_watched(state.history[-1])),
    )


def _is_over(state: State, recipe: Recipe) -> bool:
    patience = recipe.convergence.patience
    if state.epoch >= recipe.max_epochs or (patience and state.epoch - state.best_epoch >= patience):
        return True
    # From weights that are no numbers no step leads back.
    return bool(state.history) and not math.isfinite(_watched(state.history[-1]))


def _watched(figures: dict[str, float]) -> float:
    return figures.get("validation_loss", figures["loss"])


def _advance(state: State, figures: dict[str, float], model: keras.Model, *, min_delta: float) -> State:
    epoch, loss = state.epoch + 1, _watched(figures)
    history = (*state.history, figures)
    if math.isfinite(loss) and loss < state.best_loss - min_delta:
        return State(
            epoch=epoch, history=history, best_epoch=epoch, best_loss=loss, best_weights=model.get_weights()
        )
    if not math.isfinite(loss) and not state.best_weights:
        raise InvalidModel(
            f"the loss of epoch {epoch} is {loss}: the training diverges; a smaller learning rate may help"
        )
    return State(
        epoch=epoch,
        history=history,
        best_epoch=state.best_epoch,
        best_loss=state.best_loss,
        best_weights=state.best_weights,
    )


def _run_epoch(
    step: Callable[..., Any], batches: Batches, epoch: int, *, recipe: Recipe, observer: Observer
) -> float:
    """Run one epoch and return the mean loss over its records."""
    # Summed where it is computed: reading every step's loss would make a GPU wait for Python.
    total: Any = tf.zeros((), tf.float64)
    for place, batch in enumerate(batches.epoch(epoch)):
        if observer.stop_requested:
            raise Cancelled("the training was asked to stop")
        loss = step(batch.inputs, batch.labels, batch.weights, batch.records)
        total = total + tf.cast(loss, tf.float64) * batch.records
        done = epoch * len(batches) + place + 1
        observer.progress("training", done, total=recipe.max_epochs * len(batches), unit="step")
    return float(total) / batches.records


def _training_step(
    model: keras.Model, task: Task, optimizer: keras.optimizers.Optimizer
) -> Callable[..., Any]:
    strategy = tf.distribute.get_strategy()

    def replica_step(inputs: Any, labels: Any, weights: Any, records: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = tf.nn.compute_average_loss(
                task.losses(labels, outputs), sample_weight=weights, global_batch_size=records
            )
            objective = loss
            if model.losses:
                objective = loss + tf.nn.scale_regularization_loss(tf.add_n(model.losses))
        gradients = tape.gradient(objective, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def step(inputs: Any, labels: Any, weights: Any, records: Any) -> Any:
        losses = strategy.run(replica_step, args=(inputs, labels, weights, records))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    compiled = tf.function(step)

    def call(inputs: Any, labels: Any, weights: Any, records: int) -> Any:
        # As a tensor: a Python number would be traced anew for the last batch of every epoch.
        return compiled(inputs, labels, weights, tf.constant(records, tf.int32))

    return call
