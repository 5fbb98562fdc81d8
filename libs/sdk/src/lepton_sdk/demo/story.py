"""The story itself: a pipeline is run, its endpoint is asked, and the figures are gathered."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton.compression.v1 import compression_pb2
from lepton.model.v1 import model_pb2
from lepton_common.errors import NotFound
from lepton_sdk import pipeline
from lepton_sdk.client import Client
from lepton_sdk.demo.data import Images
from lepton_sdk.demo.load import Rate, classify, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

AGENT_STEPS = 50_000


@dataclass(frozen=True, kw_only=True)
class Telling:
    """How the story is told."""

    name: str
    """Of all that it makes but the agent."""
    agent: str
    epochs: int = 0
    """Passes over the data at most; 0: what is good for the data set."""
    workers: int = 1
    """Processes that train together."""
    gpus: int = 0
    """GPUs of each of them, in a cluster."""
    agent_steps: int = AGENT_STEPS


@dataclass(frozen=True, kw_only=True)
class Story:
    """What came out."""

    images: Images
    outcome: pipeline.Outcome
    probabilities: NDArray[np.float32]
    """Of the held-out images, as the endpoint answered: [n, classes]."""
    rate: Rate
    lineage: Sequence[model_pb2.LineageNode]
    pictures: Mapping[str, bytes]
    """Of the trained version's evaluation: PNG by path."""
    seconds: float

    @property
    def plain(self) -> compression_pb2.Candidate:
        """The uncompressed export."""
        return self._candidates[0]

    @property
    def chosen(self) -> compression_pb2.Candidate:
        """The candidate that is served."""
        return next(candidate for candidate in self._candidates if candidate.selected)

    @property
    def _candidates(self) -> list[compression_pb2.Candidate]:
        assert self.outcome.compression_job is not None
        return [*self.outcome.compression_job.candidates]

    @property
    def served_accuracy(self) -> float:
        """Share of the held-out images that the endpoint classified right."""
        return float((self.probabilities.argmax(axis=1) == self.images.test_labels).mean())

    def figures(self) -> dict[str, Any]:
        """The figures of `report.json`."""
        assert self.outcome.learning_run is not None
        return {
            "dataset": self.images.name,
            "accuracy": self.plain.score,
            "accuracy_compressed": self.chosen.score,
            "accuracy_served": self.served_accuracy,
            "precision_compressed": self.chosen.name,
            "bytes": self.plain.size_bytes,
            "bytes_compressed": self.chosen.size_bytes,
            "latency_ms": self.plain.latency_ms,
            "latency_ms_compressed": self.chosen.latency_ms,
            "max_difference_fp32": self.plain.max_difference,
            "requests_per_second": self.rate.requests_per_second,
            "request_p50_ms": self.rate.p50_ms,
            "request_p99_ms": self.rate.p99_ms,
            "agent_mean_reward": self.outcome.learning_run.mean_reward,
            "seconds": self.seconds,
            "reused": self.outcome.reused,
        }


def describe(images: Images, folder: Path, telling: Telling) -> pipeline.Pipeline:
    """The pipeline of the story."""
    sources = []
    for options, path in images.sources.items():
        source: dict[str, Any] = {"path": str(path.resolve())}
        for option in filter(None, options.split(",")):
            source |= {"split": "SPLIT_TEST"} if option == "test" else {"column": option}
        sources.append(source)
    train: dict[str, Any] = {
        "cnn": {},
        "maxEpochs": telling.epochs or (30 if images.name == "digits" else 3),
        "workers": telling.workers,
    }
    if telling.gpus:
        train["placement"] = {"gpus": telling.gpus}
    return pipeline.parse(
        {
            "name": telling.name,
            "dataset": {"sources": sources, "spec": {"schema": {"label": "label"}}},
            "train": train,
            "compress": {"maxAccuracyDrop": 0.005},
            "endpoint": {},
            "agent": {
                "id": telling.agent,
                "spec": {"environment": "CartPole-v1", "dqn": {}},
                "learn": {"simulation": {"steps": telling.agent_steps}},
            },
        },
        folder,
    )


async def tell(
    client: Client, images: Images, folder: Path, telling: Telling, watcher: pipeline.Watcher
) -> Story:
    """Run the pipeline, ask the endpoint, and gather what came out."""
    began = time.monotonic()
    outcome = await pipeline.run(client, describe(images, folder, telling), watcher)
    assert outcome.compression_job is not None
    watcher.stage("predict", f"{len(images.test_images):,} held-out images over gRPC")
    probabilities = await classify(client, outcome.endpoint, images.test_images)
    watcher.stage("load", "16 callers, one image a request, 5 seconds")
    rate = await measure(client, outcome.endpoint, images.test_images)
    lineage = await client.models.lineage(outcome.compression_job.model_version)
    trained = await client.models.evaluated(outcome.compression_job.model_version)
    pictures = {
        file.path: await client.models.read_file(trained.name, file.path)
        for file in trained.files
        if file.path.endswith(".png")
    }
    return Story(
        images=images,
        outcome=outcome,
        probabilities=probabilities,
        rate=rate,
        lineage=lineage,
        pictures=pictures,
        seconds=time.monotonic() - began,
    )


async def remove(client: Client, outcome: pipeline.Outcome, telling: Telling) -> None:
    """Delete what the story has made: nothing is left of it."""
    job, compression, run = outcome.training_job, outcome.compression_job, outcome.learning_run
    assert job is not None and compression is not None and run is not None
    policy, _, _ = run.model_version.partition("/versions/")
    for deletion in (
        client.endpoints.delete(f"endpoints/{telling.name}"),
        client.agents.delete(f"agents/{telling.agent}"),
        client.compression.delete(compression.name),
        client.training.delete(job.name),
        client.models.delete(policy),
        client.models.delete(f"models/{telling.name}"),
        client.datasets.delete(f"datasets/{telling.name}"),
    ):
        # Somebody else may have tidied up.
        with contextlib.suppress(NotFound):
            await deletion
