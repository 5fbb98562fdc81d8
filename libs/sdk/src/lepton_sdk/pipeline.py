"""A whole pipeline from one file: data, training, compression, endpoint, agent.

A pipeline is a client. Every stage is asked for under a request id that is derived from the pipeline's
name and the stage's content, so a pipeline that was killed is simply run again: what is done is found,
what is under way is followed, and only the rest is started.

    name: digits
    dataset:
      sources: [{path: digits.npz}]         # with the fields of lepton.dataset.v1.Source
      spec: {schema: {label: label}}        # lepton.dataset.v1.DatasetVersionSpec
    train: {cnn: {}, maxEpochs: 20}         # lepton.training.v1.TrainingSpec
    compress: {maxAccuracyDrop: 0.005}      # lepton.compression.v1.CompressionSpec
    endpoint: {}                            # id: the pipeline's name
    agent:
      id: cartpole
      spec: {environment: CartPole-v1, dqn: {}}                  # lepton.agent.v1.Agent
      learn: {simulation: {steps: 50000}}                        # lepton.agent.v1.LearningSpec

Every stage is optional; one that is left out ends the chain there.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from lepton.agent.v1 import agent_pb2
from lepton.compression.v1 import compression_pb2
from lepton.dataset.v1 import dataset_pb2
from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2
from lepton_common.errors import AlreadyExists, InvalidField
from lepton_sdk.client import Client
from lepton_sdk.jobs import FINAL, Job, wait

STAGES = ("dataset", "train", "compress", "endpoint", "agent")
NEEDS = {
    "train": ("dataset", "datasetVersion"),
    "compress": ("train", "modelVersion"),
    "endpoint": ("compress", "targets"),
}
"""The stage that a stage goes on from, and the field that can be given instead."""
KEYS = {
    "dataset": ("id", "sources", "spec"),
    "endpoint": ("id", "targets"),
    "agent": ("id", "spec", "learn"),
}
"""What stages hold that are not a message of the contracts as a whole."""
SPECS: Mapping[str, type[Message]] = {
    "dataset.spec": dataset_pb2.DatasetVersionSpec,
    "train": training_pb2.TrainingSpec,
    "compress": compression_pb2.CompressionSpec,
    "agent.spec": agent_pb2.Agent,
    "agent.learn": agent_pb2.LearningSpec,
}
LATEST = "/versions/latest"
MOST_TRIES = 100

J = TypeVar("J", bound=Job)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What a pipeline file says."""

    name: str
    stages: Mapping[str, Mapping[str, Any]]
    folder: Path
    """Paths in the file are relative to it."""


@dataclass(kw_only=True)
class Outcome:
    """What a pipeline has made."""

    dataset_version: dataset_pb2.DatasetVersion | None = None
    training_job: training_pb2.TrainingJob | None = None
    compression_job: compression_pb2.CompressionJob | None = None
    endpoint: str = ""
    learning_run: agent_pb2.LearningRun | None = None
    reused: list[str] = field(default_factory=list)
    """Stages that had been done before."""


class Watcher:
    """Is told what happens. Override what is wanted."""

    def stage(self, stage: str, resource: str) -> None:
        """A stage begins, or is taken up."""

    def uploaded(self, filename: str, done: int, total: int) -> None:
        """Bytes of a source have arrived."""

    def job(self, stage: str, job: Job) -> None:
        """The job of a stage has changed."""


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
            "`name` must be 1 to 42 lower-case letters, digits and dashes, with a letter first and no dash last"
        )
    unknown = [str(key) for key in document if key not in ("name", *STAGES)]
    if unknown:
        raise InvalidField(f"unknown stage {min(unknown)!r}; there are {', '.join(STAGES)}")
    stages = {stage: {} if document[stage] is None else document[stage] for stage in STAGES if stage in document}
    for stage, content in stages.items():
        _check_stage(stage, content)
    for stage, (before, own) in NEEDS.items():
        if stage in stages and before not in stages and own not in stages[stage]:
            raise InvalidField(f"stage `{stage}` needs a stage `{before}`, or its own `{own}`")
    return Pipeline(name=name, stages=stages, folder=folder)


def _check_stage(stage: str, content: Any) -> None:
    if not isinstance(content, dict):
        raise InvalidField(f"stage `{stage}` must be a mapping")
    if stage in SPECS:
        _message(stage, content, SPECS[stage]())
        return
    unknown = [str(key) for key in content if key not in KEYS[stage]]
    if unknown:
        raise InvalidField(f"stage `{stage}` has no {min(unknown)!r}; it has {', '.join(KEYS[stage])}")
    for key in ("spec", "learn"):
        if key in content:
            _message(f"{stage}.{key}", content[key], SPECS[f"{stage}.{key}"]())
    if stage == "dataset":
        _sources(content)
    if stage == "endpoint" and "targets" in content:
        _targets(content["targets"])


def _sources(content: Mapping[str, Any]) -> list[tuple[str, dataset_pb2.Source]]:
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
        found.append((path, _message(f"dataset.sources[{place}]", settings, dataset_pb2.Source())))
    return found


def _targets(targets: Any) -> dict[str, int]:
    """Weight of every model version of an `endpoint` stage."""
    if not isinstance(targets, dict) or not all(type(weight) is int for weight in targets.values()):
        raise InvalidField("endpoint.targets must map names of model versions to whole numbers")
    return {str(name): weight for name, weight in targets.items()}


async def run(client: Client, pipeline: Pipeline, watcher: Watcher | None = None) -> Outcome:
    """Run what is not done yet of a pipeline.

    Raises:
        LeptonError: a stage failed; running again takes up there.
    """
    return await _Run(client, pipeline, watcher or Watcher()).run()


class _Run:
    def __init__(self, client: Client, pipeline: Pipeline, watcher: Watcher) -> None:
        self.client = client
        self.pipeline = pipeline
        self.watcher = watcher
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        for stage in STAGES:
            if stage in self.pipeline.stages:
                await getattr(self, f"_{stage}")(dict(self.pipeline.stages[stage]))
        return self.outcome

    async def _dataset(self, content: dict[str, Any]) -> None:
        dataset = str(content.get("id", self.pipeline.name))
        name = f"datasets/{dataset}"
        self.watcher.stage("dataset", name)
        # Where it was made by hand or by another pipeline, its versions are added to.
        with contextlib.suppress(AlreadyExists):
            await self.client.datasets.create(dataset, request_id=_request_id(self.pipeline.name, name))
        spec = _message("dataset.spec", content.get("spec", {}), dataset_pb2.DatasetVersionSpec())
        for relative, source in _sources(content):
            path = self.pipeline.folder / relative
            upload = await self.client.datasets.upload(
                name, path, on_progress=partial(self.watcher.uploaded, path.name)
            )
            source.upload = upload.name
            spec.sources.append(source)
        self.outcome.dataset_version = await self._job(
            "dataset",
            spec,
            lambda request_id: self.client.datasets.create_version(name, spec, request_id=request_id),
            self.client.datasets.watch_version,
        )

    async def _train(self, content: dict[str, Any]) -> None:
        content.setdefault("model", f"models/{self.pipeline.name}")
        if self.outcome.dataset_version is not None:
            content.setdefault("datasetVersion", self.outcome.dataset_version.name)
        spec = _message("train", content, training_pb2.TrainingSpec())
        if spec.dataset_version.endswith(LATEST):
            # Asked for by number: with newer data it is another job, and not found as done.
            spec.dataset_version = (await self.client.datasets.get_version(spec.dataset_version)).name
        self.outcome.training_job = await self._job(
            "train",
            spec,
            lambda request_id: self.client.training.create(
                f"{self.pipeline.name}-{request_id[:12]}", spec, request_id=request_id
            ),
            self.client.training.watch,
        )

    async def _compress(self, content: dict[str, Any]) -> None:
        if self.outcome.training_job is not None:
            content.setdefault("modelVersion", self.outcome.training_job.model_version)
        spec = _message("compress", content, compression_pb2.CompressionSpec())
        if spec.model_version.endswith(LATEST):
            spec.model_version = (await self.client.models.get_version(spec.model_version)).name
        self.outcome.compression_job = await self._job(
            "compress",
            spec,
            lambda request_id: self.client.compression.create(
                f"{self.pipeline.name}-{request_id[:12]}", spec, request_id=request_id
            ),
            self.client.compression.watch,
        )

    async def _endpoint(self, content: dict[str, Any]) -> None:
        endpoint = str(content.get("id", self.pipeline.name))
        self.watcher.stage("endpoint", f"endpoints/{endpoint}")
        if "targets" in content:
            targets = _targets(content["targets"])
        else:
            assert self.outcome.compression_job is not None
            targets = {self.outcome.compression_job.model_version: 100}
        await self.client.endpoints.put(endpoint, targets)
        await self.client.endpoints.wait_ready(f"endpoints/{endpoint}")
        self.outcome.endpoint = endpoint

    async def _agent(self, content: dict[str, Any]) -> None:
        agent = str(content.get("id", self.pipeline.name))
        name = f"agents/{agent}"
        made = _message("agent.spec", content.get("spec", {}), agent_pb2.Agent())
        request_id = _request_id(self.pipeline.name, name, made)
        # An agent that lives on from another pipeline learns on.
        with contextlib.suppress(AlreadyExists):
            await self.client.agents.create(agent, made, request_id=request_id)
        spec = _message("agent.learn", content.get("learn", {}), agent_pb2.LearningSpec())
        self.outcome.learning_run = await self._job(
            "agent",
            spec,
            lambda request_id: self.client.agents.learn(
                name,
                f"{self.pipeline.name}-{request_id[:12]}",
                spec,
                request_id=request_id,
            ),
            self.client.agents.watch_run,
        )

    async def _job(
        self,
        stage: str,
        spec: Message,
        create: Callable[[str], Awaitable[J]],
        watch: Callable[[str], AsyncGenerator[J, None]],
    ) -> J:
        """Ask for a stage's job, or find it, and follow it to its end. A try that had failed before this
        run is left as it is and the next one made; one that fails now ends the run."""
        for attempt in range(MOST_TRIES):
            job = await create(_request_id(self.pipeline.name, stage, spec, attempt))
            if job.status.state in (
                job_pb2.JOB_STATE_FAILED,
                job_pb2.JOB_STATE_CANCELLED,
            ):
                continue
            if job.status.state in FINAL:
                self.outcome.reused.append(stage)
            self.watcher.stage(stage, job.name)
            return await wait(watch(job.name), lambda changed: self.watcher.job(stage, changed))
        raise InvalidField(
            f"stage `{stage}` has failed {MOST_TRIES} times; change it before running it again"
        )


def _request_id(*parts: object) -> str:
    """A name for "this, asked for by that": the same parts give the same id."""
    words = [
        part.SerializeToString(deterministic=True).hex() if isinstance(part, Message) else str(part)
        for part in parts
    ]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:40]


def _message(place: str, content: Any, message: M) -> M:
    # A key without a value, in YAML.
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise InvalidField(f"{place} must be a mapping")
    try:
        return ParseDict(content, message)
    except ParseError as wrong:
        raise InvalidField(f"{place}: {wrong}") from wrong
