"""How the step size changes over a training."""

import math
from typing import Any

import tensorflow as tf

from lepton_learn.recipe import Schedule


def step_size(schedule: Schedule, learning_rate: float, *, step: Any, steps: int) -> Any:
    """The step size alpha of one step, a float32 scalar.

    It rises along a line over the warm-up: alpha (step + 1) / warm-up. From there to the last step it falls
    to `final_share` of it: along half a cosine (Loshchilov and Hutter, 2017), along a line, or by the same
    share at every step.

    Args:
        schedule: how it changes.
        learning_rate: its largest value.
        step: int64 scalar, the steps taken before this one.
        steps: of the whole training.
    """
    done = tf.cast(step, tf.float32)
    warmup = min(schedule.warmup_steps, steps)
    way = tf.clip_by_value((done - warmup) / max(1, steps - 1 - warmup), 0.0, 1.0)
    least = schedule.final_share
    match schedule.decay:
        case "cosine":
            share = least + (1 - least) * 0.5 * (1 + tf.cos(math.pi * way))
        case "linear":
            share = 1 - (1 - least) * way
        case "exponential":
            share = tf.exp(math.log(max(least, 1e-30)) * way)
        case _:
            share = tf.ones(())
    rise = tf.minimum(1.0, (done + 1) / max(1, warmup))
    return learning_rate * rise * share
