"""Two towers: a network makes a vector of whoever asks, each item has one, and their product is the score.

Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, 2019. A record is
an interaction: its features say who asked, in what state, and its label is the item. The tower of the items
is an embedding of the items themselves, so all their vectors are the model's last layer, and what is served
is a classifier over the items like any other.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lepton_common.errors import InvalidModel
from lepton_learn.columns import embedded, hidden, parts
from lepton_learn.recipe import TwoTower
from lepton_learn.task import Classification
from lepton_learn.transform import FittedTransform

RECALLS = (10, 50)
"""Lengths of the lists that recall is told of."""

_NEVER = float(np.finfo(np.float32).min) / 4
"""Instead of a score that must not count."""


def build_two_tower(recipe: TwoTower, transform: FittedTransform) -> keras.Model:
    """The model: from features to a score for each item, the product u(features) v(item).

    Raises:
        InvalidModel: the label is a quantity, and not one of several items.
    """
    if not transform.classes:
        raise InvalidModel(
            f"a two_tower recommends the values of its label, and {transform.schema.label!r} is a quantity"
        )
    inputs = keras.Input(transform.input_shape, name="features")
    x = embedded(parts(inputs, transform), size=recipe.embedding_size)
    x = hidden(x, recipe.hidden_units, dropout=recipe.dropout)
    user = keras.layers.Dense(recipe.vector_size, name="user")(x)
    items = keras.layers.Dense(len(transform.classes), use_bias=False, dtype="float32", name="items")
    return keras.Model(inputs, items(user), name="two_tower")


class Retrieval(Classification):
    """One of many items, learned from the items of the same batch, or of the part that is computed at once.

    An item of a batch is drawn as often as it was interacted with, so popular ones are negatives too often;
    taking log q from the scores, q being how often, corrects that: equation 4 of the paper. At the end scores
    are those of a softmax over all items, and by that they are judged.
    """

    def __init__(self, log_q: NDArray[np.float32]) -> None:
        """Take the logarithm of how often each item is drawn, [items]."""
        super().__init__(from_logits=True)
        self._log_q = log_q

    @classmethod
    def of(cls, labels: NDArray[np.int64], *, items: int) -> "Retrieval":
        """The task of learning from these training labels [n]; an item without any counts as having one."""
        records = np.maximum(np.bincount(labels, minlength=items), 1)
        return cls(np.log(records / len(labels)).astype(np.float32))

    def training_losses(self, labels: Any, outputs: Any) -> Any:
        """The cross-entropy [n] of each record's item among the items of the batch.

        Args:
            labels: items [n].
            outputs: scores [n, items].
        """
        scores = tf.gather(outputs, labels, axis=1) - tf.gather(tf.constant(self._log_q), labels)
        # A record's own item is no negative of it, wherever else in the batch it comes.
        same = labels[:, tf.newaxis] == labels[tf.newaxis]
        other = tf.logical_and(same, tf.logical_not(tf.eye(tf.shape(labels)[0], dtype=tf.bool)))
        scores = tf.where(other, _NEVER, scores)
        return tf.reduce_logsumexp(scores, axis=1) - tf.linalg.diag_part(scores)
