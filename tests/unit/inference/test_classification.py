"""The likeliest classes instead of all scores."""

import numpy as np
import pytest

from lepton_common.errors import TensorMismatch
from lepton_inference.classification import check_classes, classify
from lepton_inference.signature import TensorSpec


def test_the_highest_scores_come_first_with_their_labels() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]], np.float32)
    texts = classify(scores, 2, classes=["cat", "dog"], batched=True)
    assert texts.tolist() == [["0.700000:1:dog", "0.200000:2"], ["0.500000:0:cat", "0.500000:2"]]


def test_there_are_never_more_classes_than_scores() -> None:
    assert classify(np.array([1.0, 2.0]), 9, classes=[], batched=False).shape == (2,)


@pytest.mark.parametrize(("datatype", "count"), [("FP32", 0), ("FP32", -1), ("BYTES", 1), ("BF16", 1)])
def test_what_cannot_be_ranked_is_refused(datatype: str, count: int) -> None:
    with pytest.raises(TensorMismatch):
        check_classes(TensorSpec("y", datatype, (-1, 3)), count)
