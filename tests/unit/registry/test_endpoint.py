"""Which versions can be served together under one name, and in which batches."""

import pytest

from lepton_common.errors import InvalidField
from lepton_inference import catalogue
from lepton_registry.endpoint import DEFAULT_MAX_BATCH_SIZE, Target, check_preferred_sizes, check_targets
from lepton_registry.model import Format

ONE = Target("models/a/versions/1", 90, Format.ONNX)
TWO = Target("models/a/versions/2", 10, Format.ONNX)
SHADOW = Target("models/a/versions/3", 0, Format.ONNX)


@pytest.mark.parametrize(
    "targets", [[ONE], [ONE, TWO], [ONE, SHADOW]], ids=["one", "two", "one by name only"]
)
def test_versions_of_one_model_are_served_together(targets: list[Target]) -> None:
    check_targets(targets)


@pytest.mark.parametrize(
    ("targets", "field", "fault"),
    [
        ([Target("models/a/versions/1", 1, Format.KERAS)], "endpoint.targets[0].model_version", "KERAS"),
        (
            [ONE, Target("models/b/versions/1", 1, Format.ONNX)],
            "endpoint.targets[1].model_version",
            "models/b",
        ),
        ([ONE, TWO, ONE], "endpoint.targets[2].model_version", "twice"),
        ([SHADOW], "endpoint.targets", "weight"),
        ([], "endpoint.targets", "at least 1"),
    ],
    ids=["not ONNX", "two models", "a version twice", "no weight", "nothing"],
)
def test_other_targets_are_refused_by_field(targets: list[Target], field: str, fault: str) -> None:
    with pytest.raises(InvalidField, match=fault) as refusal:
        check_targets(targets)
    assert [violation.field for violation in refusal.value.violations] == [field]


@pytest.mark.parametrize(
    ("sizes", "max_batch_size"),
    [([], 0), ([DEFAULT_MAX_BATCH_SIZE], 0), ([8, 4], 8)],
    ids=["none", "the largest by default", "the largest"],
)
def test_batches_may_be_as_large_as_the_largest(sizes: list[int], max_batch_size: int) -> None:
    check_preferred_sizes(sizes, max_batch_size)


def test_a_batch_above_the_largest_is_refused_by_field() -> None:
    with pytest.raises(InvalidField, match="at most max_batch_size, 8") as refusal:
        check_preferred_sizes([4, 9], 8)
    assert [violation.field for violation in refusal.value.violations] == [
        "endpoint.batching.preferred_batch_sizes[1]"
    ]


def test_the_largest_batch_by_default_is_that_of_the_servers() -> None:
    assert catalogue.DEFAULT_MAX_BATCH_SIZE == DEFAULT_MAX_BATCH_SIZE
