"""The form of a pipeline file, checked as a whole before anything is run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from lepton.agent.v1 import agent_pb2
from lepton.compression.v1 import compression_pb2
from lepton.dataset.v1 import dataset_pb2
from lepton.endpoint.v1 import endpoint_pb2
from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import InvalidField

STAGES = ("dataset", "train", "search", "compress", "endpoint", "agent")
NEEDS = {
    "train": (("dataset",), ("datasetVersion",)),
    "search": (("dataset",), ("training.datasetVersion",)),
    "compress": (("train", "search"), ("modelVersion",)),
    "endpoint": (("compress",), ("targets", "follow")),
}
"""The stages that a stage can go on from, and the fields of which one can be given instead."""
ENDPOINT_FIELDS = ("follow", "batching", "execution", "responseCacheBytes", "pool")
"""What the stage `endpoint` has of the message of that name, as it stands there."""
KEYS = {
    "dataset": ("id", "sources", "spec"),
    "endpoint": ("id", "targets", *ENDPOINT_FIELDS),
    "agent": ("id", "spec", "learn"),
}
"""What stages hold that are not a message of the contracts as a whole."""
SPECS: Mapping[str, type[Message]] = {
    "dataset.spec": dataset_pb2.DatasetVersionSpec,
    "train": training_pb2.TrainingSpec,
    "search": study_pb2.StudySpec,
    "compress": compression_pb2.CompressionSpec,
    "agent.spec": agent_pb2.Agent,
    "agent.learn": agent_pb2.LearningSpec,
}

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What a pipeline file says."""

    name: str
    stages: Mapping[str, Mapping[str, Any]]
    folder: Path
    """Paths in the file are relative to it."""


def load(path: Path) -> Pipeline:
    """Read a pipeline file.

    Raises:
        InvalidField: it cannot be read, is not YAML, or not a pipeline; the text says where.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except OSError as failure:
        raise InvalidField(f"{path} cannot be read: {failure.strerror}") from failure
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as malformed:
        raise InvalidField(f"{path} is not YAML: {malformed}") from malformed
    return parse(document, path.resolve().parent)


def parse(document: Any, folder: Path) -> Pipeline:
    """Check the form of a pipeline, so that a slip in its last stage is found before the first one runs.

    Args:
        document: what a pipeline file holds.
        folder: paths in it are relative to this.

    Raises:
        InvalidField: it is not a pipeline; the text says where.
    """
    if not isinstance(document, dict):
        raise InvalidField("a pipeline is a mapping with `name` and stages")
    name = document.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", name):
        raise InvalidField(
            "`name` must be 1 to 42 lower-case letters, digits and dashes: first a letter, last no dash"
        )
    unknown = [str(key) for key in document if key not in ("name", *STAGES)]
    if unknown:
        raise InvalidField(f"unknown stage {min(unknown)!r}; there are {', '.join(STAGES)}")
    # A stage that needs nothing said, as `endpoint:`, is None in YAML.
    given = {stage: document[stage] for stage in STAGES if stage in document}
    stages = {stage: {} if content is None else content for stage, content in given.items()}
    for stage, content in stages.items():
        _check_stage(stage, content)
    if "train" in stages and "search" in stages:
        raise InvalidField("stages `train` and `search` make the same model: leave one of them out")
    for stage, (before, own) in NEEDS.items():
        if stage not in stages or not stages.keys().isdisjoint(before):
            continue
        if not any(_has(stages[stage], field) for field in own):
            needed, instead = (" or ".join(f"`{each}`" for each in names) for names in (before, own))
            raise InvalidField(f"stage `{stage}` needs a stage {needed}, or its own {instead}")
    return Pipeline(name=name, stages=stages, folder=folder)


def _has(content: Mapping[str, Any], field: str) -> bool:
    """Whether a field, named by its path, is given."""
    name, _, rest = field.partition(".")
    if name not in content:
        return False
    return not rest or (isinstance(content[name], dict) and _has(content[name], rest))


def _check_stage(stage: str, content: Any) -> None:
    if not isinstance(content, dict):
        raise InvalidField(f"stage `{stage}` must be a mapping")
    if stage in SPECS:
        read_message(stage, content, SPECS[stage]())
        return
    unknown = [str(key) for key in content if key not in KEYS[stage]]
    if unknown:
        raise InvalidField(f"stage `{stage}` has no {min(unknown)!r}; it has {', '.join(KEYS[stage])}")
    for key in ("spec", "learn"):
        if key in content:
            read_message(f"{stage}.{key}", content[key], SPECS[f"{stage}.{key}"]())
    if stage == "dataset":
        read_sources(content)
    if stage == "endpoint":
        read_endpoint(content)
        if "targets" in content:
            read_targets(content["targets"])
            if "follow" in content:
                raise InvalidField("stage `endpoint` has `targets` or `follow`, and not both")


def read_sources(content: Mapping[str, Any]) -> list[tuple[str, dataset_pb2.Source]]:
    """Path of every source of a `dataset` stage, and what else is said of it."""
    sources = content.get("sources") or []
    if not isinstance(sources, list):
        raise InvalidField("dataset.sources must be a list, of paths or of mappings with a `path`")
    found = []
    for place, source in enumerate(sources):
        settings = dict(source) if isinstance(source, dict) else {"path": source}
        path = settings.pop("path", None)
        if not isinstance(path, str) or not path:
            raise InvalidField(f"dataset.sources[{place}] must name a `path`")
        found.append((path, read_message(f"dataset.sources[{place}]", settings, dataset_pb2.Source())))
    return found


def read_endpoint(content: Mapping[str, Any]) -> endpoint_pb2.Endpoint:
    """What an `endpoint` stage says but for the targets and the id."""
    said = {key: content[key] for key in ENDPOINT_FIELDS if key in content}
    return read_message("endpoint", said, endpoint_pb2.Endpoint())


def read_targets(targets: Any) -> dict[str, int]:
    """Weight of every model version of an `endpoint` stage."""
    if not isinstance(targets, dict) or not all(type(weight) is int for weight in targets.values()):
        raise InvalidField("endpoint.targets must map names of model versions to whole numbers")
    return {str(name): weight for name, weight in targets.items()}


def read_message(place: str, content: Any, message: M) -> M:
    """Fill a message of the contracts with what stands at a place of the file.

    Raises:
        InvalidField: it is not such a message.
    """
    # A key without a value, in YAML.
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise InvalidField(f"{place} must be a mapping")
    try:
        return ParseDict(content, message)
    except ParseError as wrong:
        raise InvalidField(f"{place}: {wrong}") from wrong
