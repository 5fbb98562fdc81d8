"""Where workers run: what a service's replicas do on a machine and in a cluster."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient, Configuration

from lepton.dataset.v1.dataset_pb2 import DatasetVersion
from lepton_common.errors import InvalidField
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.kubernetes import Cluster, KubernetesLauncher, SeenJob
from lepton_common.jobs.launcher import Launch, Phase
from lepton_common.jobs.processes import ProcessLauncher
from lepton_common.jobs.workplace import KubernetesCluster, Workplace, open_workplace
from lepton_common.objects import ObjectStore
from lepton_common.settings import WorkerSettings

from ..kubernetes_api import Api, serving

LABEL = "lepton.dev/dataset-version"
LEASE = "lepton-data-ingest"
TEMPLATE = {
    "kind": "Job",
    "spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "example/worker:1"}]}}},
}
VERSION = DatasetVersion(name="datasets/iris/versions/1", uid="8d3f")
KEY = life.key(VERSION)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """The API of a cluster."""
    async with serving() as found:
        yield found


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path}/objects")


@asynccontextmanager
async def replica(api: Api, objects: ObjectStore, name: str) -> AsyncIterator[KubernetesCluster]:
    """The workplace of one replica."""
    cluster = Cluster(ApiClient(Configuration(host=api.url)), "lepton")
    launcher = KubernetesLauncher(cluster, objects, template=TEMPLATE, label=LABEL)
    workplace = KubernetesCluster(cluster, launcher, lease=LEASE, replica=name)
    yield workplace
    await workplace.close()


@asynccontextmanager
async def at_work(workplace: Workplace, *loops: Callable[[], Any]) -> AsyncIterator[None]:
    """A service's background tasks, as a server runs them."""
    tasks = [asyncio.create_task(task()) for task in workplace.tasks(loops)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def launch() -> Launch:
    environment = {"LEPTON_JOB": KEY, "LEPTON_OBJECT_STORE_URL": "s3://bucket", "LEPTON_WORKERS": "1"}
    return Launch(job=KEY, attempt=1, module="lepton_data_ingest.worker", environment=environment)


def job_of_a_user(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {LABEL: name}}, "spec": {"completions": 1}}


def pod_of(job: str, **status: Any) -> dict[str, Any]:
    labels = {LABEL: job, "batch.kubernetes.io/job-name": job}
    return {
        "metadata": {"name": f"{job}-0-abcde", "labels": labels},
        "spec": {"nodeName": "gpu-0", "containers": [{"image": "example/worker:1"}]},
        "status": status,
    }


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


async def test_on_a_machine_every_replica_runs_its_loops(objects: ObjectStore, tmp_path: Path) -> None:
    settings = WorkerSettings(object_store_url=objects.url, run_directory=tmp_path / "run")
    workplace = await open_workplace(settings, objects, label=LABEL, lease=LEASE)
    assert isinstance(workplace.launcher, ProcessLauncher)
    started = asyncio.Event()

    async def loop() -> None:
        started.set()

    async with at_work(workplace, loop):
        await asyncio.wait_for(started.wait(), 60)
    await workplace.close()


async def test_a_template_that_is_no_job_is_refused(objects: ObjectStore, tmp_path: Path) -> None:
    template = tmp_path / "job.yaml"
    template.write_text("kind: Pod")
    settings = WorkerSettings(object_store_url=objects.url, job_template=template)
    with pytest.raises(InvalidField, match="is not the manifest of a Job"):
        await open_workplace(settings, objects, label=LABEL, lease=LEASE)


async def test_in_a_cluster_one_replica_at_a_time_runs_the_loops(api: Api, objects: ObjectStore) -> None:
    at_it: list[str] = []

    def loop_of(name: str) -> Callable[[], Any]:
        async def loop() -> None:
            at_it.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                at_it.remove(name)

        return loop

    async with replica(api, objects, "b") as second:
        async with replica(api, objects, "a") as first, at_work(first, loop_of("a")):
            await eventually(lambda: at_it == ["a"])
            waiting = at_work(second, loop_of("b"))
            await waiting.__aenter__()
            await asyncio.sleep(0.3)
            assert at_it == ["a"]
            assert api.objects["leases"][LEASE]["spec"]["holderIdentity"] == "a"
        await eventually(lambda: at_it == ["b"])
        await waiting.__aexit__(None, None, None)
    assert api.objects["leases"][LEASE]["spec"]["holderIdentity"] == ""


async def test_a_job_is_labelled_with_all_that_names_it(api: Api, objects: ObjectStore) -> None:
    async with replica(api, objects, "a") as workplace, at_work(workplace):
        await workplace.launcher.start(launch())
        (job,) = api.objects["jobs"].values()
        assert job["metadata"]["labels"] == {LABEL: "iris-1"}
        assert job["spec"]["template"]["metadata"]["labels"] == {LABEL: "iris-1"}
        await eventually(lambda: job["metadata"]["name"] in api.objects["jobs"])
        assert (await workplace.launcher.observe(KEY, 1)).phase == Phase.RUNNING
        await workplace.launcher.clean(KEY)
        assert not api.objects["jobs"]


async def test_a_replica_that_does_not_lead_cleans_up_too(api: Api, objects: ObjectStore) -> None:
    async with replica(api, objects, "a") as leader, replica(api, objects, "b") as other, at_work(leader):
        await leader.launcher.start(launch())
        await other.launcher.clean(KEY)
        assert not api.objects["jobs"]


async def test_jobs_that_users_apply_are_ignored(api: Api, objects: ObjectStore) -> None:
    changed: list[str] = []
    async with replica(api, objects, "a") as workplace:
        workplace.launcher.listen(changed.append)
        lost = pod_of("theirs", phase="Running")
        lost["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        api.put("jobs", job_of_a_user("theirs"))
        api.put("pods", lost)
        api.put("pods", pod_of("iris-1", phase="Running") | {"metadata": lost["metadata"] | {"name": "ours"}})
        api.objects["pods"]["ours"]["metadata"]["labels"] = {
            LABEL: "iris-1",
            "batch.kubernetes.io/job-name": "another",
        }
        async with at_work(workplace):
            # A lost pod is given up, if it is not of a Job that is none of ours.
            await eventually(lambda: "ours" not in api.objects["pods"])
            assert "theirs-0-abcde" in api.objects["pods"]
    assert objects.list("jobs") == []


async def test_jobs_that_users_apply_are_taken_over_where_they_are_wanted(
    api: Api, objects: ObjectStore
) -> None:
    arrived: list[SeenJob] = []
    async with replica(api, objects, "a") as workplace:
        workplace.adopt(arrived.append, collection="trainingJobs")
        api.put("jobs", job_of_a_user("theirs"))
        async with at_work(workplace):
            await eventually(lambda: arrived)
            (seen,) = arrived
            assert seen.key == f"trainingJobs/theirs/{seen.uid}"
            assert (await workplace.launcher.observe(seen.key, 1)).phase == Phase.ABSENT
            files.mark_launched(objects, seen.key)
            assert (await workplace.launcher.observe(seen.key, 1)).phase == Phase.RUNNING


async def test_that_a_job_was_launched_is_read_once(api: Api, objects: ObjectStore) -> None:
    arrived: list[SeenJob] = []
    async with replica(api, objects, "a") as workplace:
        workplace.adopt(arrived.append, collection="trainingJobs")
        api.put("jobs", job_of_a_user("theirs"))
        async with at_work(workplace):
            await eventually(lambda: arrived)
            files.mark_launched(objects, arrived[0].key)
            await workplace.launcher.observe(arrived[0].key, 1)
            objects.delete_prefix(files.prefix(arrived[0].key))
            assert (await workplace.launcher.observe(arrived[0].key, 1)).phase == Phase.RUNNING


async def test_no_watch_is_waited_for_long_after_its_connection_has_died(
    api: Api, objects: ObjectStore
) -> None:
    async with replica(api, objects, "a") as workplace, at_work(workplace):
        await eventually(lambda: len(api.watches) >= 3)
    assert {watch["kind"] for watch in api.watches} == {"jobs", "pods", "events"}
    assert all(int(watch["timeoutSeconds"]) <= 90 for watch in api.watches)


@pytest.mark.parametrize("service", ["compressor", "data_ingest", "rl_agent", "trainer"])
def test_a_service_on_a_machine_loads_no_client_of_a_cluster(service: str) -> None:
    code = (
        f"import asyncio, sys, pathlib, lepton_{service}.__main__\n"
        "from lepton_common.jobs.workplace import open_workplace\n"
        "from lepton_common.settings import WorkerSettings\n"
        "settings = WorkerSettings(object_store_url='file:///x', run_directory=pathlib.Path('/x'))\n"
        "asyncio.run(open_workplace(settings, None, label='l', lease='l'))\n"
        "print([name for name in ('kubernetes', 'aiohttp') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
