"""What an endpoint may serve, and how."""

from collections.abc import Sequence
from dataclasses import dataclass

from lepton_common.errors import FieldViolation, InvalidField
from lepton_registry.model import Format, model_of

MOST_TARGETS = 32
"""Versions that an endpoint serves at most."""

DEFAULT_MAX_BATCH_SIZE = 32
"""Records that run together at most where an endpoint does not say, as the contract has it."""


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
        InvalidField: There is none, one is not ONNX or there twice, they are of several models, or
            none has a weight.
    """
    if not targets:
        rule = "at least 1 target is needed, or a model to follow"
        raise InvalidField(
            f"the endpoint would serve nothing: {rule}", violations=[FieldViolation("endpoint.targets", rule)]
        )
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


def check_preferred_sizes(sizes: Sequence[int], max_batch_size: int) -> None:
    """Check that batches can have these sizes in records.

    Args:
        sizes: The sizes.
        max_batch_size: The largest batch; 0 is the default.

    Raises:
        InvalidField: One is above the largest batch.
    """
    most = max_batch_size or DEFAULT_MAX_BATCH_SIZE
    for place, size in enumerate(sizes):
        if size > most:
            rule = f"must be at most max_batch_size, {most}"
            raise InvalidField(
                f"a batch of {size} records is never made: it {rule}",
                violations=[FieldViolation(f"endpoint.batching.preferred_batch_sizes[{place}]", rule)],
            )


def _invalid(place: int, fault: str) -> InvalidField:
    field = f"endpoint.targets[{place}].model_version"
    return InvalidField(f"the endpoint cannot serve this: {fault}", violations=[FieldViolation(field, fault)])
