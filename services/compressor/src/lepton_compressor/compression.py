"""What a compression job is asked for: its defaults, and what its source must be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lepton_common.errors import FieldViolation, InvalidField, WrongState

DEFAULT_CALIBRATION_RECORDS = 256
TRIED = ("PRECISION_FP16", "PRECISION_INT8")
"""Tried besides fp32 where the job does not say."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The model version that is compressed."""

    name: str
    """`models/{model}/versions/{version}`"""
    trainable: bool
    """Whether it is of format KERAS."""
    files: Sequence[Mapping[str, Any]]
    """path, sha256, size_bytes and key of each."""
    dataset_version: str
    """Name of the dataset version it was trained on; empty if its lineage names none."""
    lineage: Sequence[Mapping[str, Any]]
    """The version itself and everything it came from, as JSON."""

    @property
    def model(self) -> str:
        """`models/{model}`"""
        return self.name.partition("/versions/")[0]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Where the records of a dataset version are."""

    key: str
    sha256: str


def precisions(asked: Sequence[str]) -> list[str]:
    """What to try, each once, by the contract's names; fp32 is tried whether or not it is among them.

    Raises:
        InvalidField: the unspecified precision is among them.
    """
    if "PRECISION_UNSPECIFIED" in asked:
        violation = FieldViolation("compression_job.spec.precisions", "each must be FP32, FP16 or INT8")
        raise InvalidField("an unspecified precision cannot be tried", violations=[violation])
    return list(dict.fromkeys(asked or TRIED))


def check(source: Source) -> None:
    """Refuse a source that cannot be compressed.

    Raises:
        WrongState: it is compressed already, or nothing is known of the data it was trained on.
    """
    if not source.trainable:
        raise WrongState(f"{source.name} is an ONNX model; compress the KERAS version that it came from")
    if not source.dataset_version:
        raise WrongState(
            f"the lineage of {source.name} names no dataset version, so no candidate could be measured"
        )
