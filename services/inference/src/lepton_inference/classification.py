"""The classification extension: the likeliest classes of each record, instead of all scores."""

from collections.abc import Sequence

import numpy as np

from lepton_common.errors import TensorMismatch
from lepton_inference.signature import TensorSpec
from lepton_inference.tensors import Array

# What has an order that numpy knows: texts and truth values have none, and BF16 is bits to it.
_WITHOUT_ORDER = ("BOOL", "BYTES", "BF16")


def check_classes(spec: TensorSpec, count: int) -> int:
    """The number of classes that an output is asked for.

    Raises:
        TensorMismatch: it is not positive, or the output has no scores to compare.
    """
    if count < 1 or spec.datatype in _WITHOUT_ORDER:
        raise TensorMismatch(f"output {spec.name!r} of {spec.datatype} cannot be asked for {count} classes")
    return count


def classify(scores: Array, count: int, *, classes: Sequence[str], batched: bool) -> Array:
    """The `count` highest scores of each record, best first, as texts `score:index:label`.

    The label is left out where the model has none for the index. The result has the shape
    [batch, k], or [k] without a batch dimension, with k at most the number of scores.
    """
    rows = scores.reshape(len(scores) if batched else 1, -1)
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = np.empty(best.shape, dtype=object)
    for row, indices in enumerate(best.tolist()):
        for place, index in enumerate(indices):
            label = f":{classes[index]}" if index < len(classes) else ""
            texts[row, place] = f"{rows[row, index]:.6f}:{index}{label}"
    return texts if batched else texts[0]
