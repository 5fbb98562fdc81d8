"""The model version that a training begins with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lepton_common.errors import WrongState
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
