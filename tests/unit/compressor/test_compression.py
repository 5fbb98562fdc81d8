"""What is tried for a compression job, and which sources are refused."""

from dataclasses import replace

import pytest

from lepton_common.errors import InvalidField, WrongState
from lepton_compressor.compression import Source, check, precisions

FP32, FP16, INT8 = "PRECISION_FP32", "PRECISION_FP16", "PRECISION_INT8"
TRAINED = Source(
    name="models/digits/versions/3",
    trainable=True,
    files=[{"path": "model.keras", "sha256": "ab" * 32, "size_bytes": 9, "key": "models/blobs/ab"}],
    dataset_version="datasets/digits/versions/2",
    lineage=[],
)


@pytest.mark.parametrize(
    ("asked", "tried"),
    [
        pytest.param([], [FP16, INT8], id="everything where the job does not say"),
        pytest.param([INT8, FP16], [INT8, FP16], id="in the order that was asked for"),
        pytest.param([INT8, FP16, INT8], [INT8, FP16], id="each once"),
        pytest.param([FP32], [FP32], id="the plain export alone"),
    ],
)
def test_the_precisions_that_are_tried(asked: list[str], tried: list[str]) -> None:
    assert precisions(asked) == tried


def test_a_precision_that_says_nothing_is_refused_by_field() -> None:
    with pytest.raises(InvalidField) as refused:
        precisions([INT8, "PRECISION_UNSPECIFIED"])
    (violation,) = refused.value.violations
    assert violation.field == "compression_job.spec.precisions"


def test_the_default_model_is_that_of_the_source() -> None:
    assert TRAINED.model == "models/digits"


def test_a_trained_model_with_its_dataset_is_accepted() -> None:
    check(TRAINED)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param(
            replace(TRAINED, trainable=False), "models/digits/versions/3 is an ONNX model", id="compressed"
        ),
        pytest.param(replace(TRAINED, dataset_version=""), "names no dataset version", id="unknown data"),
    ],
)
def test_a_source_that_cannot_be_compressed_is_refused(source: Source, words: str) -> None:
    with pytest.raises(WrongState, match=words):
        check(source)
