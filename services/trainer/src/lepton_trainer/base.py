"""The model version that a training begins with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lepton_common.errors import FieldViolation, InvalidField, WrongState
from lepton_trainer.lineage import Node


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A model version whose weights a training takes over.

    Attributes:
        name: `models/{model}/versions/{version}`.
        trainable: Whether it is of format KERAS.
        files: path, sha256, size_bytes and key of each.
        lineage: The version itself and everything it came from, nearest first.
    """

    name: str
    trainable: bool
    files: Sequence[Mapping[str, Any]]
    lineage: Sequence[Node]


def check_private_base(base: BaseModel, dataset: str) -> None:
    """Refuse a version that knows the records of a private training already, by one that was not private.

    Args:
        base: What the training begins with.
        dataset: `datasets/{dataset}` that it is to be private for.

    Raises:
        InvalidField: A training behind the version learned from the dataset without privacy.
    """
    for node in base.lineage:
        learned = node.kind == "TRAINING_JOB" and any(
            parent.startswith(f"{dataset}/versions/") for parent in node.parents
        )
        if learned and node.privacy is None:
            path = "training_job.spec.base_model"
            description = f"must not come from a training on {dataset!r} without privacy, as {node.name!r}"
            raise InvalidField(f"{path}: {description}", violations=[FieldViolation(path, description)])


def check_base(base: BaseModel) -> None:
    """Refuse a version that no training can begin with.

    Raises:
        WrongState: It is an exported model.
    """
    if not base.trainable:
        raise WrongState(
            f"{base.name} is an ONNX model: begin with the KERAS version that it came from",
            metadata={"name": base.name},
        )
