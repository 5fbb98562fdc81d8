"""Random changes to the images of a step, drawn from the seed and the step alone."""

from typing import Any

import tensorflow as tf

from lepton_learn.recipe import Augmentation


def changes(augmentation: Augmentation, *, records: int, seed: int, step: Any) -> Any:
    """What is done to each image of a step.

    They are drawn for the whole batch, wherever its parts are computed, so that the number of replicas
    changes nothing.

    Returns:
        int32 [records, 3]: 1 to mirror it, pixels to move it down, pixels to move it right.
    """
    key = tf.stack([seed % 2**31, tf.cast(step, tf.int32)])
    shift = augmentation.shift
    mirrored = tf.random.stateless_uniform([records, 1], key, 0, 1 + int(augmentation.flip), tf.int32)
    moved = tf.random.stateless_uniform([records, 2], key[::-1], -shift, shift + 1, tf.int32)
    return tf.concat([mirrored, moved], axis=1)


def change(images: Any, drawn: Any) -> Any:
    """Mirror and move images float32 [n, height, width, channels] as `changes` says, int32 [n, 3].

    What moves in from outside repeats the edge.
    """
    height, width = images.shape[1:3]
    rows = tf.clip_by_value(tf.range(height) - drawn[:, 1:2], 0, height - 1)
    columns = tf.clip_by_value(tf.range(width) - drawn[:, 2:3], 0, width - 1)
    columns = tf.where(drawn[:, :1] > 0, width - 1 - columns, columns)
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)
