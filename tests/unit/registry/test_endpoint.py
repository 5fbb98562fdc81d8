"""Which versions can be served together under one name."""

import pytest

from lepton_common.errors import InvalidField
from lepton_registry.endpoint import Target, check_targets
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
    ],
    ids=["not ONNX", "two models", "a version twice", "no weight"],
)
def test_other_targets_are_refused_by_field(targets: list[Target], field: str, fault: str) -> None:
    with pytest.raises(InvalidField, match=fault) as refusal:
        check_targets(targets)
    assert [violation.field for violation in refusal.value.violations] == [field]
