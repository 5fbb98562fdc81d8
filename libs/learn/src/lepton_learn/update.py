"""The update of the weights after each step, the same on every replica.

SGD with momentum: v <- mu v - alpha g, theta <- theta + v. Adam: Kingma and Ba, 2015, algorithm 1. Weight
decay is decoupled from the gradient: Loshchilov and Hutter, 2019. Gradients are summed over all replicas
first and clipped and checked after that, so that the number of replicas changes nothing. (Keras's own
optimizers clip and check before they sum.)
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from lepton_learn.recipe import Optimizer
from lepton_learn.schedule import step_size

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7
_FIRST_SCALE = 2.0**15
_LARGEST_SCALE = 2.0**24
_CALM_STEPS = 2000
"""Steps without an overflow after which the loss scale is doubled."""


class Update:
    """An update rule and its state. Make it in the scope of the team's strategy."""

    def __init__(self, recipe: Optimizer, weights: Sequence[Any], *, steps: int, scaled: bool) -> None:
        """Prepare to update `weights`.

        Args:
            recipe: the rule.
            weights: the model's trainable variables.
            steps: of the whole training, for the schedule.
            scaled: whether gradients come in float16, so that the loss is scaled for small ones to survive:
                Micikevicius et al., 2018. A step whose gradients overflow changes nothing but the scale.
        """
        self._recipe = recipe
        self._weights = [weight.value for weight in weights]
        self._steps = steps
        self._scaled = scaled
        slots = 2 if recipe.kind == "adam" else int(recipe.momentum > 0)
        self._slots = [[_variable(tf.zeros_like(weight)) for _ in range(slots)] for weight in self._weights]
        self._step = _variable(tf.zeros((), tf.int64))
        self._scale = _variable(tf.constant(_FIRST_SCALE))
        self._calm = _variable(tf.zeros((), tf.int64))

    @property
    def variables(self) -> list[Any]:
        """All state, in an order that the recipe alone decides."""
        return [self._step, self._scale, self._calm, *(slot for slots in self._slots for slot in slots)]

    @property
    def step(self) -> Any:
        """Steps taken so far, int64 scalar."""
        return self._step.read_value()

    def scale(self, loss: Any) -> Any:
        """The loss whose gradients `apply` takes."""
        return loss * self._scale.read_value() if self._scaled else loss

    def apply(self, gradients: Sequence[Any]) -> None:
        """Take a step, inside a replica.

        Args:
            gradients: of this replica's part of the loss, by weight; None for a weight that it does not
                depend on.
        """
        context = tf.distribute.get_replica_context()
        known = [place for place, gradient in enumerate(gradients) if gradient is not None]
        found = [tf.cast(tf.convert_to_tensor(gradients[place]), tf.float32) for place in known]
        if context.num_replicas_in_sync > 1:
            found = context.all_reduce(tf.distribute.ReduceOp.SUM, found)
        finite = tf.constant(True)
        if self._scaled:
            scale = self._scale.read_value()
            found = [gradient / scale for gradient in found]
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in found])
        if self._recipe.clip_norm:
            found, _ = tf.clip_by_global_norm(found, self._recipe.clip_norm)
        rate = step_size(self._recipe.schedule, self._recipe.learning_rate, step=self.step, steps=self._steps)
        context.merge_call(self._update, args=(known, found, rate, finite))

    def _update(self, strategy: Any, known: list[int], gradients: list[Any], rate: Any, finite: Any) -> None:
        rule = self._adam if self._recipe.kind == "adam" else self._sgd
        for place, gradient in zip(known, gradients, strict=True):
            arguments = (place, gradient, rate, finite)
            strategy.extended.update(self._weights[place], rule, args=arguments, group=False)
        strategy.extended.update(self._step, _count, group=False)
        if self._scaled:
            strategy.extended.update(self._scale, self._adapt_scale, args=(finite,), group=False)

    def _sgd(self, weight: Any, place: int, gradient: Any, rate: Any, finite: Any) -> None:
        self._decay(weight, rate, finite)
        change = -rate * gradient
        if self._recipe.momentum:
            (velocity,) = self._slots[place]
            change = self._recipe.momentum * velocity + change
            velocity.assign(tf.where(finite, change, velocity))
        weight.assign_add(tf.where(finite, change, tf.zeros_like(change)))

    def _adam(self, weight: Any, place: int, gradient: Any, rate: Any, finite: Any) -> None:
        self._decay(weight, rate, finite)
        mean, square = self._slots[place]
        step = tf.cast(self._step + 1, tf.float32)
        new_mean = mean + (gradient - mean) * (1 - _BETA_1)
        new_square = square + (tf.square(gradient) - square) * (1 - _BETA_2)
        mean.assign(tf.where(finite, new_mean, mean))
        square.assign(tf.where(finite, new_square, square))
        corrected = rate * tf.sqrt(1 - tf.pow(_BETA_2, step)) / (1 - tf.pow(_BETA_1, step))
        change = new_mean * corrected / (tf.sqrt(new_square) + _EPSILON)
        weight.assign_sub(tf.where(finite, change, tf.zeros_like(change)))

    def _decay(self, weight: Any, rate: Any, finite: Any) -> None:
        # Biases and the scales of normalisation are vectors; to pull them to zero does harm.
        if self._recipe.weight_decay and weight.shape.rank > 1:
            share = tf.where(finite, rate * self._recipe.weight_decay, 0.0)
            weight.assign_sub(share * weight)

    def _adapt_scale(self, scale: Any, finite: Any) -> None:
        calm = tf.where(finite, self._calm + 1, tf.zeros((), tf.int64))
        grows = calm >= _CALM_STEPS
        larger = tf.where(grows, tf.minimum(scale * 2, _LARGEST_SCALE), scale)
        scale.assign(tf.where(finite, larger, tf.maximum(scale / 2, 1.0)))
        self._calm.assign(tf.where(grows, tf.zeros((), tf.int64), calm))


def _variable(value: Any) -> Any:
    return tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


def _count(step: Any) -> None:
    step.assign_add(1)
