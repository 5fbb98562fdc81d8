"""Running a pipeline: every stage is asked for or found, and followed to its end."""

import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message

from lepton.agent.v1 import agent_pb2
from lepton.compression.v1 import compression_pb2
from lepton.dataset.v1 import dataset_pb2
from lepton.job.v1 import job_pb2
from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import AlreadyExists, InvalidField
from lepton_sdk.client import Client
from lepton_sdk.jobs import FINAL, Job, wait
from lepton_sdk.pipeline.document import (
    STAGES,
    Pipeline,
    read_endpoint,
    read_message,
    read_sources,
    read_targets,
)

LATEST = "/versions/latest"
MOST_TRIES = 100

J = TypeVar("J", bound=Job)


@dataclass(kw_only=True)
class Outcome:
    """What a pipeline has made."""

    dataset_version: dataset_pb2.DatasetVersion | None = None
    training_job: training_pb2.TrainingJob | None = None
    study: study_pb2.Study | None = None
    compression_job: compression_pb2.CompressionJob | None = None
    endpoint: str = ""
    learning_run: agent_pb2.LearningRun | None = None
    reused: list[str] = field(default_factory=list)
    """Stages that had been done before."""

    @property
    def trained(self) -> str:
        """Name of the model version that was trained, or found best; empty where none was."""
        made = self.study if self.study is not None else self.training_job
        return made.model_version if made is not None else ""


class Watcher:
    """Is told what happens. Override what is wanted."""

    def stage(self, stage: str, resource: str) -> None:
        """A stage begins, or is taken up."""

    def uploaded(self, filename: str, done: int, total: int) -> None:
        """Bytes of a source have arrived."""

    def job(self, stage: str, job: Job) -> None:
        """The job of a stage has changed."""


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
            await self.client.datasets.create(dataset, request_id=request_id_of(self.pipeline.name, name))
        spec = read_message("dataset.spec", content.get("spec", {}), dataset_pb2.DatasetVersionSpec())
        for relative, source in read_sources(content):
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
        spec = read_message("train", content, training_pb2.TrainingSpec())
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

    async def _search(self, content: dict[str, Any]) -> None:
        training = dict(content.get("training") or {})
        training.setdefault("model", f"models/{self.pipeline.name}")
        if self.outcome.dataset_version is not None:
            training.setdefault("datasetVersion", self.outcome.dataset_version.name)
        spec = read_message("search", {**content, "training": training}, study_pb2.StudySpec())
        if spec.training.dataset_version.endswith(LATEST):
            latest = await self.client.datasets.get_version(spec.training.dataset_version)
            spec.training.dataset_version = latest.name
        self.outcome.study = await self._job(
            "search",
            spec,
            # The ids of studies are shorter: their trials' are made of them.
            lambda request_id: self.client.studies.create(
                f"{self.pipeline.name[:38]}-{request_id[:8]}", spec, request_id=request_id
            ),
            self.client.studies.watch,
        )

    async def _compress(self, content: dict[str, Any]) -> None:
        if self.outcome.trained:
            content.setdefault("modelVersion", self.outcome.trained)
        spec = read_message("compress", content, compression_pb2.CompressionSpec())
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
        said = read_endpoint(content)
        targets = None
        if "targets" in content:
            targets = read_targets(content["targets"])
        elif not said.HasField("follow"):
            assert self.outcome.compression_job is not None
            targets = {self.outcome.compression_job.model_version: 100}
        await self.client.endpoints.put(
            endpoint,
            targets,
            follow=said.follow if said.HasField("follow") else None,
            batching=said.batching if said.HasField("batching") else None,
            execution=said.execution if said.HasField("execution") else None,
            response_cache_bytes=said.response_cache_bytes if "responseCacheBytes" in content else None,
            pool=said.pool,
        )
        await self.client.endpoints.wait_ready(f"endpoints/{endpoint}")
        self.outcome.endpoint = endpoint

    async def _agent(self, content: dict[str, Any]) -> None:
        agent = str(content.get("id", self.pipeline.name))
        name = f"agents/{agent}"
        made = read_message("agent.spec", content.get("spec", {}), agent_pb2.Agent())
        request_id = request_id_of(self.pipeline.name, name, made)
        # An agent that lives on from another pipeline learns on.
        with contextlib.suppress(AlreadyExists):
            await self.client.agents.create(agent, made, request_id=request_id)
        spec = read_message("agent.learn", content.get("learn", {}), agent_pb2.LearningSpec())
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
            job = await create(request_id_of(self.pipeline.name, stage, spec, attempt))
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


def request_id_of(*parts: object) -> str:
    """A name for "this, asked for by that": the same parts give the same id."""
    words = [
        part.SerializeToString(deterministic=True).hex() if isinstance(part, Message) else str(part)
        for part in parts
    ]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:40]
