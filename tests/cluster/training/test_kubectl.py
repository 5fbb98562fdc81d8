"""Trainings by kubectl alone."""

from pathlib import Path

import pytest

from lepton.job.v1 import job_pb2

from ..cluster import eventually
from .harness import Lepton, kubectl, objects

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).resolve().parents[3] / "k8s" / "examples"


@pytest.mark.parametrize(
    ("example", "name"),
    [("training-job.yaml", "digits-by-hand"), ("training-job-workers.yaml", "digits-by-two")],
)
async def test_an_applied_job_is_a_training_job_like_any_other(
    lepton: Lepton, example: str, name: str
) -> None:
    kubectl("apply", "--filename", str(EXAMPLES / example))
    kubectl("wait", "--for=condition=complete", f"job/{name}", "--timeout=300s")
    job = await lepton.ended(name)
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    assert job.model_version == f"models/{name}/versions/1"
    assert await lepton.digest(job)
    listed = await lepton.call(lambda client: client.training.list())
    assert f"trainingJobs/{name}" in [found.name for found in listed]
    assert "accuracy" in kubectl("get", "job", name, "--output", "jsonpath={.metadata.annotations}")
    assert kubectl("logs", f"job/{name}")


async def test_a_deleted_job_is_a_cancelled_one(lepton: Lepton) -> None:
    _apply("by-hand-deleted", ("max_epochs: 10", "max_epochs: 1000"))
    await lepton.adopted("by-hand-deleted")
    await lepton.at_work("by-hand-deleted")
    kubectl("delete", "job", "by-hand-deleted")
    job = await lepton.ended("by-hand-deleted")
    assert job.status.state == job_pb2.JOB_STATE_CANCELLED
    assert "its Kubernetes Job was deleted" in job.status.message


async def test_an_image_that_cannot_be_pulled_is_named(lepton: Lepton) -> None:
    _apply("no-image", ("localhost/lepton/trainer-worker:dev", "localhost/lepton/nothing:dev"))
    await lepton.adopted("no-image")
    job = await lepton.wait("no-image", lambda found: "cannot be started" in found.status.message)
    assert "localhost/lepton/nothing:dev" in job.status.message
    kubectl("delete", "job", "no-image")
    assert (await lepton.ended("no-image")).status.state == job_pb2.JOB_STATE_CANCELLED


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("no-spec", ("lepton.dev/training-spec", "lepton.dev/training-spce"), "is missing"),
        ("odd-spec", ("max_epochs: 10", "max_epochs: many"), "is no training spec"),
        ("no-dataset", ("datasets/digits/", "datasets/letters/"), "datasets/letters"),
    ],
)
async def test_a_spec_that_cannot_be_trained_fails_the_job_at_once(
    lepton: Lepton, name: str, change: tuple[str, str], message: str
) -> None:
    _apply(name, change)
    await lepton.adopted(name)
    job = await lepton.ended(name)
    assert job.status.state == job_pb2.JOB_STATE_FAILED
    assert message in job.status.message
    await eventually(lambda: "Failed" in _conditions(name))


def _apply(name: str, *changes: tuple[str, str]) -> None:
    text = (EXAMPLES / "training-job.yaml").read_text()
    for old, new in (*changes, ("digits-by-hand", name)):
        assert old in text
        text = text.replace(old, new)
    kubectl("apply", "--filename", "-", given=text)


def _conditions(name: str) -> list[str]:
    (job,) = [found for found in objects("jobs") if found["metadata"]["name"] == name]
    return [condition["type"] for condition in job["status"].get("conditions", [])]
