"""Trainings as Jobs of a real cluster, undisturbed and disturbed: the weights are the same."""

import logging
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from lepton.job.v1 import job_pb2

from ..cluster import Faults, eventually
from .harness import Lepton, digits_spec, index_of, kubectl, objects, pods_of

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


_log = logging.getLogger(__name__)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def undisturbed(lepton: Lepton) -> AsyncIterator[tuple[str, float]]:
    """The digest of a model of two workers that nothing has disturbed, and the seconds that it took."""
    started = time.monotonic()
    await lepton.start("undisturbed", digits_spec())
    job = await lepton.ended("undisturbed")
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    assert job.status.attempt == 1
    yield await lepton.digest(job), time.monotonic() - started


async def test_two_workers_train_with_a_gpu_each(lepton: Lepton, undisturbed: tuple[str, float]) -> None:
    pods = pods_of("undisturbed")
    assert [pod["status"]["phase"] for pod in pods] == ["Succeeded", "Succeeded"]
    for pod in pods:
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert pod["spec"]["nodeName"].startswith("gpu-")
    (job,) = objects("jobs", "--selector", "lepton.dev/training-job=undisturbed")
    assert job["metadata"]["labels"]["lepton.dev/state"] == "succeeded"
    assert "accuracy" in job["metadata"]["annotations"]["lepton.dev/status"]
    kubectl("wait", "--for=condition=complete", f"job/{job['metadata']['name']}", "--timeout=1s")


async def test_a_deleted_pod_costs_little_and_changes_nothing(
    lepton: Lepton, undisturbed: tuple[str, float]
) -> None:
    digest, seconds = undisturbed
    started = time.monotonic()
    await lepton.start("pod-deleted", digits_spec(model="pod-deleted"))
    await lepton.at_work("pod-deleted")
    victim = next(pod["metadata"]["name"] for pod in pods_of("pod-deleted", phase="Running"))
    kubectl("delete", "pod", victim, "--wait=false")
    job = await lepton.ended("pod-deleted")
    took = time.monotonic() - started
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    assert job.status.attempt == 2
    assert await lepton.digest(job) == digest
    # Also what the deleted one wrote.
    logs = await lepton.call(lambda client: client.training.logs("trainingJobs/pod-deleted"))
    assert f"pod {victim}" in [log.worker for log in logs]
    assert all(log.text for log in logs)
    _log.info("a deleted pod cost %.1f s", took - seconds)


async def test_a_lost_node_costs_little_and_changes_nothing(
    lepton: Lepton, undisturbed: tuple[str, float], faults: Faults
) -> None:
    digest, seconds = undisturbed
    started = time.monotonic()
    await lepton.start("node-lost", digits_spec(model="node-lost"))
    await lepton.at_work("node-lost")
    node = pods_of("node-lost", phase="Running")[-1]["spec"]["nodeName"]
    faults("kill", node)
    try:
        job = await lepton.ended("node-lost")
        took = time.monotonic() - started
    finally:
        faults("start", node)
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    assert await lepton.digest(job) == digest
    _log.info("a lost node cost %.1f s", took - seconds)


async def test_a_node_that_is_cut_off_can_spoil_nothing(
    lepton: Lepton, undisturbed: tuple[str, float], faults: Faults
) -> None:
    digest, _ = undisturbed
    await lepton.start("node-cut", digits_spec(model="node-cut"))
    await lepton.at_work("node-cut")
    first = next(pod for pod in pods_of("node-cut", phase="Running") if index_of(pod) == 0)
    node = first["spec"]["nodeName"]
    # Its worker goes on, and knows of nothing.
    faults("cut", node)
    try:
        job = await lepton.ended("node-cut")
    finally:
        faults("mend", node)
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    assert job.status.attempt >= 2
    assert await lepton.digest(job) == digest


async def test_the_service_may_be_deleted_in_the_middle(
    lepton: Lepton, undisturbed: tuple[str, float]
) -> None:
    digest, _ = undisturbed
    await lepton.start("service-deleted", digits_spec(model="service-deleted"))
    await lepton.at_work("service-deleted")
    kubectl("delete", "pod", "--selector", "app=trainer", "--grace-period=0", "--force")
    job = await lepton.ended("service-deleted")
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    assert job.status.attempt == 1
    assert await lepton.digest(job) == digest


async def test_a_suspended_training_gives_its_gpus_back_and_goes_on_to_the_same_weights(
    lepton: Lepton, undisturbed: tuple[str, float]
) -> None:
    digest, _ = undisturbed
    name = "trainingJobs/suspended"
    await lepton.start("suspended", digits_spec(model="suspended"))
    await lepton.at_work("suspended")
    await lepton.call(lambda client: client.training.suspend(name))
    job = await lepton.wait("suspended", lambda found: found.status.state == job_pb2.JOB_STATE_SUSPENDED)
    assert 0 < job.status.progress.done < job.status.progress.total
    assert pods_of("suspended", phase="Running") == pods_of("suspended", phase="Pending") == []
    (document,) = objects("jobs", "--selector", "lepton.dev/training-job=suspended")
    assert document["spec"]["suspend"] is True
    assert not document["status"].get("failed")

    # A service that starts anew leaves it as it is.
    kubectl("delete", "pod", "--selector", "app=trainer", "--grace-period=0", "--force")
    job = await lepton.get("suspended")
    assert job.status.state == job_pb2.JOB_STATE_SUSPENDED
    await lepton.call(lambda client: client.training.resume(name))
    job = await lepton.ended("suspended")
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    assert (job.status.attempt, job.status.suspensions) == (2, 1)
    assert await lepton.digest(job) == digest


async def test_a_gpu_that_fails_is_not_used(lepton: Lepton, faults: Faults) -> None:
    for gpu in ("GPU-0", "GPU-1"):
        faults("fail-gpu", "gpu-0", gpu)
    try:
        await eventually(lambda: free_gpus("gpu-0") == "0")
        await lepton.start("gpu-failed", digits_spec(model="gpu-failed", epochs=2))
        job = await lepton.ended("gpu-failed")
        assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
        assert {pod["spec"]["nodeName"] for pod in pods_of("gpu-failed")} == {"gpu-1"}
    finally:
        for gpu in ("GPU-0", "GPU-1"):
            faults("heal-gpu", "gpu-0", gpu)


def free_gpus(node: str) -> str:
    """How many GPUs a node says that it can give."""
    (found,) = objects("nodes", "--field-selector", f"metadata.name={node}")
    allocatable: dict[str, str] = found["status"]["allocatable"]
    return allocatable["nvidia.com/gpu"]


async def test_nothing_is_left_of_a_job_that_was_deleted(
    lepton: Lepton, undisturbed: tuple[str, float]
) -> None:
    await lepton.call(lambda client: client.training.delete("trainingJobs/undisturbed"))
    selector = ("--selector", "lepton.dev/training-job=undisturbed")
    await eventually(lambda: not objects("jobs,services,pods", *selector))
