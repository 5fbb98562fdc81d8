"""What is to be served, as the registry says it: endpoints, and the model versions they name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from lepton_common.errors import FieldViolation, InvalidField
from lepton_common.manifests import Blob
from lepton_inference.routing import Route
from lepton_inference.signature import Signature

Provider: TypeAlias = Literal["", "cpu", "cuda", "tensorrt"]

MODEL_FILE = "model.onnx"
DEFAULT_MAX_BATCH_SIZE = 32

_ENDPOINT = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Version:
    """An immutable model version; `files` are keyed by their path below the artifact.

    One that an endpoint names and the registry does not know has a name alone.
    """

    name: str
    digest: str = ""
    files: Mapping[str, Blob] = field(default_factory=dict)
    signature: Signature = field(default_factory=Signature)
    is_onnx: bool = True

    @property
    def number(self) -> str:
        """What clients call it: the last segment of its name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class Execution:
    """How the versions of an endpoint run."""

    instances: int = 1
    """Runs of one version at a time."""

    threads: int = 0
    """Cores that one run may use. 0: as the server's settings say."""

    provider: Provider = ""
    """What runs them. Empty: as the server's settings say."""

    warm_up_runs: int = 1
    """Runs on batches of the largest size before a version answers."""


@dataclass(frozen=True)
class Endpoint:
    """A name that answers, the versions behind it, and how its requests are batched and run.

    `name` is the id alone, the model name of clients; routes name versions by resource name.
    """

    name: str
    routes: tuple[Route, ...]
    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE
    max_delay_seconds: float = 0.0
    preferred_batch_sizes: tuple[int, ...] = ()
    """Records of a batch that need not wait for the delay, ascending."""
    execution: Execution = Execution()
    response_cache_bytes: int = 0
    """Bytes of responses that are kept for requests that are the same. 0: none."""
    follows: bool = False
    """Whether the routes are the newest versions of a model, newest first: then one may stand in for those
    before it."""


@dataclass(frozen=True)
class Catalogue:
    """Everything that is to be served; `versions` are keyed by their name."""

    endpoints: tuple[Endpoint, ...] = ()
    versions: Mapping[str, Version] = field(default_factory=dict)


def check_model_name(name: str) -> str:
    """The name, if it can be one of an endpoint.

    Raises:
        InvalidField: it cannot.
    """
    if not _ENDPOINT.fullmatch(name):
        raise InvalidField(
            "the model name is not one of an endpoint",
            violations=[FieldViolation("model_name", f"must match {_ENDPOINT.pattern}")],
        )
    return name


def check_model_version(version: str) -> str:
    """The version, if it is empty or a number.

    Raises:
        InvalidField: it is neither.
    """
    if version and not _VERSION.fullmatch(version):
        raise InvalidField(
            "the model version is no number",
            violations=[FieldViolation("model_version", f"must be empty or match {_VERSION.pattern}")],
        )
    return version
