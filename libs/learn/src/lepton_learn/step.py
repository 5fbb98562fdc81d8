"""The training step, compiled: many steps are one call, so that Python costs next to nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from lepton_common.errors import InvalidModel
from lepton_learn import augmentation
from lepton_learn.batches import Block
from lepton_learn.privacy import Mechanism, clipped_sum
from lepton_learn.recipe import Recipe
from lepton_learn.task import Task
from lepton_learn.team import Team
from lepton_learn.update import Update


@dataclass(frozen=True)
class Gradients:
    """How a replica finds the gradients of a step."""

    part: Callable[[Sequence[Any], Any], Any]
    """Of some records (inputs, labels, weights, places), and of the count of the global batch: their part of
    the loss, and of the gradients by weight; None for a weight that they do not depend on."""
    whole: Callable[[Sequence[Any]], Sequence[Any]]
    """Of the sum of the parts: what the replica gives to the sum over all."""


Steps = Callable[..., Any]
"""`(inputs, labels, weights, counts, total, notes) -> (total, notes)`, as `compile_steps` says."""


def compile_steps(
    model: keras.Model,
    task: Task,
    *,
    update: Update,
    recipe: Recipe,
    team: Team,
    batch_size: int,
    like: Block,
    mechanism: Mechanism | None = None,
) -> Steps:
    """Compile a function that takes steps, one after the other.

    Each step finds the mean loss L over its global batch and its gradient by automatic differentiation, which
    is back-propagation, and updates the weights. A private step finds the gradient of each record, and tells
    no loss: 0.

    Args:
        model: built in the team's scope.
        task: judges its outputs.
        update: changes its weights.
        recipe: how to train.
        team: who takes the steps.
        batch_size: records of a global batch, padding included: a multiple of `team.replicas` times
            `recipe.accumulation`.
        like: a block of this process, of any number of steps.
        mechanism: of private steps.

    Raises:
        InvalidModel: the recipe asks for XLA, which cannot compile what several replicas do between them.

    Returns:
        A function of a block's `inputs`, `labels`, `weights` and `counts`, of `total` float64 and `notes`
        float32 [n]. It returns `total` with the sum over the steps of loss times count added, and the sum of
        all replicas' `notes`.
    """
    gradients = (
        _mean_gradients(model, task, update=update, recipe=recipe)
        if mechanism is None
        else _private_gradients(model, task, update=update, mechanism=mechanism)
    )
    replica_step = _replica_step(gradients, update=update, recipe=recipe, team=team, batch_size=batch_size)
    if recipe.xla:
        if team.replicas > 1:
            raise InvalidModel("xla compiles the steps of one replica, and there are several: leave it out")
        replica_step = tf.function(replica_step, jit_compile=True)

    def steps(inputs: Any, labels: Any, weights: Any, counts: Any, total: Any, notes: Any) -> Any:
        notes = team.sum(notes)
        for place in tf.range(tf.shape(counts)[0]):
            count = counts[place]
            losses = team.strategy.run(
                replica_step, args=(inputs[place], labels[place], weights[place], count)
            )
            loss = team.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
            total += tf.cast(loss, tf.float64) * tf.cast(count, tf.float64)
        return total, notes

    arrays = (like.inputs, like.labels, like.weights, like.counts)
    signature = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in arrays]
    signature += [tf.TensorSpec([], tf.float64), tf.TensorSpec([None], tf.float32)]
    compiled: Steps = tf.function(steps, input_signature=signature)
    return compiled


def _mean_gradients(model: keras.Model, task: Task, *, update: Update, recipe: Recipe) -> Gradients:
    """Of the mean loss over the batch, as far as some records have part in it."""

    def gradients(part: Sequence[Any], count: Any) -> Any:
        inputs, labels, weights, _ = part
        with tf.GradientTape() as tape:
            outputs = tf.cast(model(inputs, training=True), tf.float32)
            loss = tf.nn.compute_average_loss(
                task.training_losses(labels, outputs), sample_weight=weights, global_batch_size=count
            )
            objective = loss
            if model.losses:
                penalty = tf.add_n(model.losses) / recipe.accumulation
                objective = loss + tf.nn.scale_regularization_loss(penalty)
            objective = update.scale(objective)
        return loss, tape.gradient(objective, model.trainable_variables)

    return Gradients(part=gradients, whole=lambda summed: summed)


def _private_gradients(model: keras.Model, task: Task, *, update: Update, mechanism: Mechanism) -> Gradients:
    """Clipped by record, with noise in their sum over all replicas."""

    def gradients(part: Sequence[Any], count: Any) -> Any:
        summed = clipped_sum(model, task.losses, part, step=update.step, clip_norm=mechanism.clip_norm)
        return tf.zeros(()), summed

    def whole(summed: Sequence[Any]) -> Sequence[Any]:
        # One replica adds the noise for all: the sum over them holds it once.
        first = tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, 0)
        noise = mechanism.noise(update.step, like=summed)
        return [
            (gradient + tf.where(first, drawn, 0.0)) / mechanism.expected
            for gradient, drawn in zip(summed, noise, strict=True)
        ]

    return Gradients(part=gradients, whole=whole)


def _replica_step(
    gradients: Gradients, *, update: Update, recipe: Recipe, team: Team, batch_size: int
) -> Callable[..., Any]:
    changed = recipe.augmentation.flip or recipe.augmentation.shift > 0

    def step(inputs: Any, labels: Any, weights: Any, count: Any) -> Any:
        places = tf.range(batch_size)[team.share(batch_size)]
        inputs, labels, weights, places = team.own_share(inputs, labels, weights, places)
        if changed:
            drawn = augmentation.changes(
                recipe.augmentation, records=batch_size, seed=recipe.seed, step=update.step
            )
            (drawn,) = team.own_share(drawn[team.share(batch_size)])
            inputs = augmentation.change(inputs, drawn)
        parts = [tf.split(tensor, recipe.accumulation) for tensor in (inputs, labels, weights, places)]
        first, *others = zip(*parts, strict=True)
        total, summed = gradients.part(first, count)
        for part in others:
            loss, found = gradients.part(part, count)
            total += loss
            summed = [_add(*pair) for pair in zip(summed, found, strict=True)]
        update.apply(gradients.whole(summed))
        return total

    return step


def _add(one: Any, other: Any) -> Any:
    return None if one is None else tf.convert_to_tensor(one) + tf.convert_to_tensor(other)
