"""Trainings that find no place, or not the right one: their status says what is wrong."""

import pytest

from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2

from ..cluster import eventually
from .harness import Lepton, digits_spec, kubectl, objects, pods_of

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

QUOTA = """
apiVersion: v1
kind: ResourceQuota
metadata: {name: gpus}
spec: {hard: {requests.nvidia.com/gpu: "%d"}}
"""


async def test_a_request_that_no_node_can_fill_says_what_there_is(lepton: Lepton) -> None:
    placement = training_pb2.Placement(gpus=4)
    await lepton.start("too-many-gpus", digits_spec(workers=1, placement=placement))
    job = await lepton.wait("too-many-gpus", lambda found: "has no place" in found.status.message)
    assert job.status.state == job_pb2.JOB_STATE_RUNNING
    assert "it asks for 4 nvidia.com/gpu" in job.status.message
    assert "of 2 ready nodes with any, 2 have 2" in job.status.message
    (found,) = objects("jobs", "--selector", "lepton.dev/training-job=too-many-gpus")
    await eventually(lambda: _label("too-many-gpus", "lepton.dev/state") == "waiting")
    await lepton.call(lambda client: client.training.cancel("trainingJobs/too-many-gpus"))
    job = await lepton.ended("too-many-gpus")
    assert job.status.state == job_pb2.JOB_STATE_CANCELLED
    assert found["metadata"]["name"] not in [job["metadata"]["name"] for job in objects("jobs")]


async def test_a_gpu_that_no_node_has_is_named(lepton: Lepton) -> None:
    placement = training_pb2.Placement(gpus=1, gpu_product="NVIDIA-B200")
    await lepton.start("other-gpu", digits_spec(workers=1, placement=placement))
    job = await lepton.wait("other-gpu", lambda found: "has no place" in found.status.message)
    assert (
        "on nodes with nvidia.com/gpu.present=true, nvidia.com/gpu.product=NVIDIA-B200" in job.status.message
    )
    assert "the cluster has no such node that is ready" in job.status.message
    await lepton.call(lambda client: client.training.cancel("trainingJobs/other-gpu"))
    await lepton.ended("other-gpu")


async def test_a_quota_holds_a_job_up_until_it_has_room(lepton: Lepton) -> None:
    kubectl("apply", "--filename", "-", given=QUOTA % 0)
    try:
        await lepton.start("no-quota", digits_spec(workers=1, epochs=1, model="no-quota"))
        job = await lepton.wait("no-quota", lambda found: "exceeded quota" in found.status.message)
        assert "requests.nvidia.com/gpu=1" in job.status.message
        kubectl("apply", "--filename", "-", given=QUOTA % 4)
        # Kubernetes tries again after a while that doubles.
        job = await lepton.ended("no-quota")
        assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    finally:
        kubectl("delete", "resourcequota", "gpus")


async def test_a_time_limit_ends_a_job(lepton: Lepton) -> None:
    placement = training_pb2.Placement(gpus=4, timeout_seconds=5)
    await lepton.start("too-late", digits_spec(workers=1, placement=placement))
    job = await lepton.ended("too-late")
    assert job.status.state == job_pb2.JOB_STATE_FAILED
    assert "has not ended within the time" in job.status.message


async def test_a_wrong_configuration_fails_at_once(lepton: Lepton) -> None:
    spec = digits_spec(workers=1, class_weights={"eleven": 2.0})
    await lepton.start("wrong", spec)
    job = await lepton.ended("wrong")
    assert job.status.state == job_pb2.JOB_STATE_FAILED
    assert "'eleven', which is no value" in job.status.message
    assert job.status.attempt == 1
    assert len(pods_of("wrong")) == 1


def _label(job: str, name: str) -> str:
    (found,) = objects("jobs", "--selector", f"lepton.dev/training-job={job}")
    labels: dict[str, str] = found["metadata"]["labels"]
    return labels.get(name, "")
