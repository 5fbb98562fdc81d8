"""What an endpoint may serve."""

from collections.abc import Sequence
from dataclasses import dataclass

from lepton_common.errors import FieldViolation, InvalidField
from lepton_registry.model import Format, model_of


@dataclass(frozen=True)
class Target:
    """A version and its share of an endpoint's traffic.

    Attributes:
        version: Name of the version, with its number.
        weight: Its share, relative to those of the other targets.
        format: How it is stored.
    """

    version: str
    weight: int
    format: Format


def check_targets(targets: Sequence[Target]) -> None:
    """Check that these versions can be served together under one name.

    Raises:
        InvalidField: One is not ONNX or there twice, they are of several models, or none has a
            weight.
    """
    seen: set[str] = set()
    for place, target in enumerate(targets):
        if target.format is not Format.ONNX:
            raise _invalid(place, f"{target.version} is stored as {target.format.name}: only ONNX is served")
        if model_of(target.version) != model_of(targets[0].version):
            raise _invalid(place, f"{target.version} is of another model than {targets[0].version}")
        if target.version in seen:
            raise _invalid(place, f"{target.version} is there twice")
        seen.add(target.version)
    if not any(target.weight for target in targets):
        rule = "at least one target needs a weight above 0"
        raise InvalidField(
            f"the endpoint would answer nobody: {rule}", violations=[FieldViolation("endpoint.targets", rule)]
        )


def _invalid(place: int, fault: str) -> InvalidField:
    field = f"endpoint.targets[{place}].model_version"
    return InvalidField(f"the endpoint cannot serve this: {fault}", violations=[FieldViolation(field, fault)])
