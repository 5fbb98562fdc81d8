"""A pipeline that is run again: what is there is found, what failed is tried anew."""

from pathlib import Path
from typing import Any

import pytest

from lepton.dataset.v1 import dataset_pb2
from lepton_common import errors
from lepton_common.status import to_status
from lepton_sdk import pipeline
from lepton_sdk.client import Client
from lepton_sdk.jobs import Job

from .conftest import training_job


class Listener(pipeline.Watcher):
    """Writes down what is told of stages."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []

    def stage(self, stage: str, resource: str) -> None:
        self.stages.append((stage, resource))

    def job(self, stage: str, job: Job) -> None:
        assert (stage, job.name) == self.stages[-1]


def training_of(version: str = "1", **more: Any) -> pipeline.Pipeline:
    content = {"datasetVersion": f"datasets/digits/versions/{version}", "mlp": {}, **more}
    return pipeline.parse({"name": "digits", "train": content}, Path())


async def test_what_is_done_is_found(client: Client, training: Any) -> None:
    first, second = Listener(), Listener()
    made = await pipeline.run(client, training_of(), first)
    found = await pipeline.run(client, training_of(), second)
    assert made.reused == []
    assert found.reused == ["train"]
    assert found.training_job == made.training_job
    assert first.stages == second.stages
    assert len(training.made) == 1


async def test_what_is_under_way_is_followed(client: Client, training: Any) -> None:
    training.life = [training_job("RUNNING")]
    with pytest.raises(errors.WrongState):
        await pipeline.run(client, training_of())
    training.life = [training_job("RUNNING"), training_job("SUCCEEDED")]
    outcome = await pipeline.run(client, training_of())
    assert outcome.reused == []
    assert len(training.made) == 1


async def test_what_is_asked_otherwise_is_another_job(client: Client, training: Any) -> None:
    for wanted in (training_of(), training_of(seed=1), training_of("2")):
        assert (await pipeline.run(client, wanted)).reused == []
    assert len(training.made) == 3
    assert len({job.name for job in training.made.values()}) == 3


async def test_a_failure_ends_the_run_and_the_next_one_tries_anew(client: Client, training: Any) -> None:
    failure = to_status(errors.InvalidModel("a Lambda layer"))
    training.life = [training_job("FAILED", error=failure)]
    with pytest.raises(errors.InvalidModel, match="a Lambda layer"):
        await pipeline.run(client, training_of())
    training.life = [training_job("CANCELLED")]
    with pytest.raises(errors.Cancelled):
        await pipeline.run(client, training_of())
    training.life = [training_job("SUCCEEDED")]
    outcome = await pipeline.run(client, training_of())
    assert outcome.reused == []
    assert len(training.made) == 3
    assert (await pipeline.run(client, training_of())).reused == ["train"]


async def test_a_stage_that_has_failed_too_often_is_left_alone(
    client: Client, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lepton_sdk.pipeline.execution.MOST_TRIES", 2)
    training.life = [training_job("CANCELLED")]
    for _ in range(2):
        with pytest.raises(errors.Cancelled):
            await pipeline.run(client, training_of())
    with pytest.raises(errors.InvalidField, match="`train` has failed 2 times"):
        await pipeline.run(client, training_of())


async def test_the_latest_version_is_asked_for_by_its_number(
    client: Client, training: Any, datasets: Any
) -> None:
    datasets.latest = dataset_pb2.DatasetVersion(name="datasets/digits/versions/3")
    outcome = await pipeline.run(client, training_of("latest"))
    assert outcome.training_job is not None
    assert outcome.training_job.spec.dataset_version == "datasets/digits/versions/3"
    datasets.latest = dataset_pb2.DatasetVersion(name="datasets/digits/versions/4")
    assert (await pipeline.run(client, training_of("latest"))).reused == [], "newer data, another model"
