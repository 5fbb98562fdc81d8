"""Jobs that are suspended in a cluster: its API answers, and some lines act as its Job controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.aio.client import ApiClient, Configuration

from lepton.job.v1 import job_pb2
from lepton.training.v1.training_pb2 import TrainingJob
from lepton_common.errors import WrongState
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.kubernetes import Cluster, KubernetesLauncher, SeenJob
from lepton_common.jobs.kubernetes.names import QUEUE_LABEL

from ..kubernetes_api import Api, Document, serving

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.usefixtures("programs")

LABEL = "lepton.dev/training-job"
MARK = "lepton.dev/suspended"
TEMPLATE = {
    "kind": "Job",
    "spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "example/worker:1"}]}}},
}
SUSPENDED = job_pb2.JOB_STATE_SUSPENDED


class Kubernetes:
    """Gives every Job that may have one a pod, whose worker begins an attempt and then waits.

    Attributes:
        api: Where the Jobs are.
        bench: Where attempts are begun.
        begins: Whether pods get a node; else they are Pending.
        made: How many pods there were.
    """

    def __init__(self, api: Api, bench: Bench) -> None:
        self.api = api
        self.bench = bench
        self.begins = True
        self.made = 0

    async def run(self) -> None:
        """Do it until cancelled."""
        while True:
            pods = dict(self.api.objects["pods"])
            for name, pod in pods.items():
                job = self.api.objects["jobs"].get(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])
                if job is None or job["spec"].get("suspend"):
                    self.api.remove("pods", name)
            for name, job in list(self.api.objects["jobs"].items()):
                if not job["spec"].get("suspend") and not any(pod.startswith(name) for pod in pods):
                    await self._give_pod(name, job)
            await asyncio.sleep(0.05)

    async def _give_pod(self, name: str, job: Document) -> None:
        self.made += 1
        pod = f"{name}-0-{self.made}"
        if self.begins:
            key = job["metadata"]["annotations"]["lepton.dev/job"]
            await asyncio.to_thread(files.claim_attempt, self.bench.objects, key, pod)
        labels = {**job["spec"]["template"]["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
        self.api.put(
            "pods",
            {
                "metadata": {"name": pod, "labels": labels},
                "spec": {"containers": [{"image": "example/worker:1"}]},
                "status": {"phase": "Running" if self.begins else "Pending"},
            },
        )

    def job(self) -> Document:
        """The only Job."""
        (found,) = self.api.objects["jobs"].values()
        return found

    async def has_pod(self, number: int) -> None:
        """Wait until the pod of this number is there."""
        await eventually(lambda: self.made == number and self.api.objects["pods"])

    async def end(self, job: TrainingJob, *, attempt: int) -> None:
        """Let the worker of a job be done, and its pod."""
        files.write_outcome(
            self.bench.objects, life.key(job), attempt, outcome=files.Outcome(output={"version": "made"})
        )
        condition = {"type": "Complete", "status": "True"}
        self.api.put("jobs", {**self.job(), "status": {"conditions": [condition]}})


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


@pytest.fixture
async def kubernetes(bench: Bench) -> AsyncIterator[Kubernetes]:
    """A cluster without Jobs."""
    async with serving() as api:
        found = Kubernetes(api, bench)
        running = asyncio.create_task(found.run())
        yield found
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def launcher(kubernetes: Kubernetes) -> AsyncIterator[KubernetesLauncher]:
    """A launcher that follows the cluster."""
    async with ApiClient(Configuration(host=kubernetes.api.url)) as client:
        found = KubernetesLauncher(
            Cluster(client, "lepton"), kubernetes.bench.objects, template=TEMPLATE, label=LABEL
        )
        following = asyncio.create_task(found.run())
        yield found
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@asynccontextmanager
async def service(kubernetes: Kubernetes) -> AsyncIterator[None]:
    """A service whose workers run in the cluster."""
    async with launcher(kubernetes) as found, kubernetes.bench.service(launcher=found):
        yield


async def test_a_suspended_job_has_no_pods_and_keeps_its_job(bench: Bench, kubernetes: Kubernetes) -> None:
    async with service(kubernetes):
        job = await bench.create("digits", "run")
        await kubernetes.has_pod(1)
        uid = kubernetes.job()["metadata"]["uid"]
        await bench.suspend(job)
        await bench.suspended(job)
        assert kubernetes.job()["spec"]["suspend"] is True
        assert not kubernetes.api.objects["pods"]
        await eventually(
            lambda: kubernetes.job()["metadata"]["labels"].get("lepton.dev/state") == "suspended"
        )

        await bench.resume(job)
        await kubernetes.has_pod(2)
        assert kubernetes.job()["spec"]["suspend"] is False
        assert MARK not in kubernetes.job()["metadata"]["annotations"]
        resumed = await bench.until(job, lambda seen: seen.status.state == job_pb2.JOB_STATE_RUNNING)
        assert (resumed.status.attempt, resumed.status.message) == (2, "")
        await kubernetes.end(job, attempt=2)
        ended = await bench.ended(job)
    assert (ended.status.state, ended.model_version) == (job_pb2.JOB_STATE_SUCCEEDED, "made")
    assert kubernetes.job()["metadata"]["uid"] == uid


async def test_an_attempt_that_no_pod_has_begun_is_asked_for_again(
    bench: Bench, kubernetes: Kubernetes
) -> None:
    kubernetes.begins = False
    async with service(kubernetes):
        job = await bench.create("digits", "run")
        await kubernetes.has_pod(1)
        await bench.suspend(job)
        await bench.suspended(job)
        kubernetes.begins = True
        await bench.resume(job)
        await kubernetes.has_pod(2)
        await kubernetes.end(job, attempt=1)
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 1)


async def test_a_service_that_starts_anew_keeps_to_the_wish(bench: Bench, kubernetes: Kubernetes) -> None:
    async with service(kubernetes):
        job = await bench.create("digits", "run")
        await kubernetes.has_pod(1)
    await bench.suspend(job)
    async with service(kubernetes):
        await bench.suspended(job)
    async with service(kubernetes):
        # Nobody but the service says when it goes on.
        kubernetes.api.put(
            "jobs", {**kubernetes.job(), "spec": {**kubernetes.job()["spec"], "suspend": False}}
        )
        await eventually(lambda: kubernetes.job()["spec"]["suspend"])
        assert (await bench.jobs.get(job.name)).status.state == SUSPENDED
        before = kubernetes.made
        await bench.resume(job)
        await kubernetes.has_pod(before + 1)
        await bench.until(job, lambda seen: seen.status.state == job_pb2.JOB_STATE_RUNNING)


async def test_a_service_that_is_cut_off_before_it_tells_the_cluster_does_it_later(
    bench: Bench, kubernetes: Kubernetes
) -> None:
    async with service(kubernetes):
        job = await bench.create("digits", "run")
        await kubernetes.has_pod(1)
        await bench.suspend(job)
        await bench.suspended(job)
    await bench.resume(job)
    # What it would have written down before it starts the pods.
    await bench.jobs.update(job.name, lambda stored: life.start(stored.status, begun=1))
    async with service(kubernetes):
        await kubernetes.has_pod(2)
        await kubernetes.end(job, attempt=2)
        assert (await bench.ended(job)).status.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_suspended_job_is_cancelled_with_its_job(bench: Bench, kubernetes: Kubernetes) -> None:
    async with service(kubernetes):
        job = await bench.create("digits", "run")
        await kubernetes.has_pod(1)
        await bench.suspend(job)
        await bench.suspended(job)
        await bench.cancel(job)
        assert (await bench.ended(job)).status.state == job_pb2.JOB_STATE_CANCELLED
    assert not kubernetes.api.objects["jobs"]


async def test_a_suspended_job_whose_job_is_deleted_is_cancelled(
    bench: Bench, kubernetes: Kubernetes
) -> None:
    async with service(kubernetes):
        job = await bench.create("digits", "run")
        await kubernetes.has_pod(1)
        await bench.suspend(job)
        await bench.suspended(job)
        kubernetes.api.remove("jobs", kubernetes.job()["metadata"]["name"])
        ended = await bench.ended(job)
    assert (ended.status.state, ended.status.message) == (
        job_pb2.JOB_STATE_CANCELLED,
        "its Kubernetes Job was deleted",
    )


async def test_a_job_that_was_suspended_with_kubectl_is_left_to_kubectl(
    bench: Bench, kubernetes: Kubernetes
) -> None:
    async with service(kubernetes):
        job = await bench.create("digits", "run")
        await kubernetes.has_pod(1)
        kubernetes.api.put(
            "jobs", {**kubernetes.job(), "spec": {**kubernetes.job()["spec"], "suspend": True}}
        )
        waiting = await bench.until(job, lambda seen: seen.status.message != "")
        assert waiting.status.state == job_pb2.JOB_STATE_RUNNING
        assert waiting.status.message == "waiting: its Kubernetes Job is suspended"
        await bench.resume(job)
        await asyncio.sleep(0.3)
        assert kubernetes.job()["spec"]["suspend"] is True


async def test_a_job_in_a_queue_leaves_it_and_queues_again(bench: Bench, kubernetes: Kubernetes) -> None:
    async with service(kubernetes):
        job = await bench.create("digits", "run", queue="research")
        await kubernetes.has_pod(1)
        first = kubernetes.job()["metadata"]
        await bench.suspend(job)
        await bench.suspended(job)
        # With a Job that is there, Kueue would start it again, or keep its quota.
        assert not kubernetes.api.objects["jobs"]
        await asyncio.sleep(0.3)
        assert (await bench.jobs.get(job.name)).status.state == SUSPENDED
        await bench.resume(job)
        await kubernetes.has_pod(2)
        assert kubernetes.job()["metadata"]["labels"][QUEUE_LABEL] == "research"
        assert kubernetes.job()["metadata"]["name"] == first["name"]
        assert "suspend" not in kubernetes.job()["spec"], "Kueue decides"
        await kubernetes.end(job, attempt=2)
        assert (await bench.ended(job)).status.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_users_job_in_a_queue_is_left_to_it(bench: Bench, kubernetes: Kubernetes) -> None:
    labels = {LABEL: "theirs", QUEUE_LABEL: "research"}
    document: dict[str, Any] = {
        "metadata": {"name": "theirs", "labels": labels},
        "spec": {"completions": 1, "suspend": True},
    }
    arrived: list[SeenJob] = []
    async with ApiClient(Configuration(host=kubernetes.api.url)) as client:
        found = KubernetesLauncher(Cluster(client, "lepton"), bench.objects, template=TEMPLATE, label=LABEL)
        found.adopt(arrived.append, collection="trainingJobs")
        following = asyncio.create_task(found.run())
        kubernetes.api.put("jobs", document)
        await eventually(lambda: arrived)
        with pytest.raises(WrongState, match=r"in the queue 'research'.*spec\.active of its Workload"):
            await found.suspend(arrived[0].key, 1)
        # Its training goes on, and says why.
        job = TrainingJob(name="trainingJobs/theirs", labels={"do": "run"}, status=life.queued())
        life.start(job.status)
        job = await bench.jobs.create(job, uid=arrived[0].uid)
        async with bench.service(launcher=found):
            await bench.suspend(job)
            told = await bench.until(job, lambda seen: seen.status.message.startswith("not suspended: "))
        assert told.status.state == job_pb2.JOB_STATE_RUNNING
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert kubernetes.job()["spec"]["suspend"] is True
    assert MARK not in kubernetes.job()["metadata"].get("annotations", {})
