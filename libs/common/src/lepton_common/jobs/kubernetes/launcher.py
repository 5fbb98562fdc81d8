"""Workers as the pods of Kubernetes Jobs.

A job is one Indexed Job with a headless Service, called after the job's key, so that a try that is made
again finds what the one before has made. Kubernetes starts lost workers anew by itself; each time worker 0
begins the next attempt in the object store, so a pod on a node that was cut off can spoil nothing.

What is where is known from three watches, never from a call for one job.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lepton.job.v1 import job_pb2
from lepton_common.errors import AlreadyExists, LeptonError, NotFound
from lepton_common.jobs import files
from lepton_common.jobs.kubernetes import names
from lepton_common.jobs.kubernetes.capacity import Capacity
from lepton_common.jobs.kubernetes.cluster import Cluster, Document
from lepton_common.jobs.kubernetes.informer import Informer
from lepton_common.jobs.kubernetes.manifest import job_manifest, service_manifest
from lepton_common.jobs.kubernetes.observing import DELETED, observe
from lepton_common.jobs.kubernetes.showing import shown
from lepton_common.jobs.kubernetes.sight import SeenEvent, SeenJob, SeenPod, see_event, see_job, see_pod
from lepton_common.jobs.kubernetes.suspension import check_ours, hold, let_go
from lepton_common.jobs.kubernetes.sweep import sweep
from lepton_common.jobs.launcher import LOG_BYTES, Launch, Log, Observation, Phase
from lepton_common.objects import ObjectStore

_END_SECONDS = 60.0
"""How long workers have to end by themselves once they have told the outcome."""
_SHOW_SECONDS = 10.0
"""How often a change of the progress alone is shown."""
_LOOK_SECONDS = 0.2

_log = logging.getLogger(__name__)


class KubernetesLauncher:
    """A `Launcher` that has Kubernetes run the workers."""

    def __init__(
        self,
        cluster: Cluster,
        objects: ObjectStore,
        *,
        template: Document,
        label: str,
    ) -> None:
        """Prepare; `run` follows the cluster.

        Args:
            cluster: Where the Jobs are made.
            objects: Where attempts are begun.
            template: What Jobs are made from; see `manifest.read_template`.
            label: The label of their Jobs that has their id. Example: "lepton.dev/training-job".
        """
        self._cluster = cluster
        self._objects = objects
        self._template = template
        self._collection = ""
        """That of the jobs which Jobs of users become; empty where they do not."""
        self._label = label
        self._jobs = Informer(
            cluster,
            "jobs",
            keep=self._see,
            changed=self._job_changed,
            selectors={"labelSelector": label},
        )
        self._pods = Informer(
            cluster, "pods", keep=see_pod, changed=self._pod_changed, selectors={"labelSelector": label}
        )
        self._events = Informer(
            cluster,
            "events",
            keep=see_event,
            changed=self._event_changed,
            selectors={"fieldSelector": "reason=FailedCreate,involvedObject.kind=Job"},
        )
        self._capacity = Capacity(cluster)
        self._name_of: dict[str, str] = {}
        """Names of Jobs by the keys of their jobs."""
        self._pods_of: defaultdict[str, dict[str, SeenPod]] = defaultdict(dict)
        """Pods by the names of their Jobs; one that was deleted before it had ended stays with its Job."""
        self._refused: dict[str, SeenEvent] = {}
        self._launched: set[str] = set()
        """Keys of jobs whose workers are known to have been given to the cluster."""
        self._attempts: dict[str, tuple[frozenset[str], int]] = {}
        """The number of a job's attempts, and the pods of worker 0 that have begun them."""
        self._shown: dict[str, tuple[job_pb2.JobState.ValueType, float]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._changed: Callable[[str], None] = lambda key: None
        self._arrived: Callable[[SeenJob], None] = lambda job: None

    def listen(self, changed: Callable[[str], None]) -> None:
        """Call `changed` with the key of a job whose Job or pods are not as they were."""
        self._changed = changed

    def adopt(self, arrived: Callable[[SeenJob], None], *, collection: str) -> None:
        """Call `arrived` with every Job that has the label and that a user has made.

        Without this they are nobody's business. Call it before `run`.

        Args:
            arrived: Called in the event loop.
            collection: The collection of the jobs that these become. Example: "trainingJobs".
        """
        self._arrived = arrived
        self._collection = collection

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        informers = (self._jobs, self._pods, self._events)
        for informer in informers:
            # What was seen the last time that this replica led is too old.
            informer.synced.clear()
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run())
            group.create_task(sweep(self._cluster, self._own_pods))

    async def start(self, launch: Launch) -> None:
        """Start what is not there yet of an attempt; nothing of one that was started or stopped."""
        await self._synced()
        seen = self._seen(launch.job)
        if seen is not None and seen.held:
            await let_go(self._cluster, seen)
        if seen is not None and not seen.ours:
            # A user has started it; its workers wait for what was just written down.
            await self._mark_launched(launch.job)
            return
        manifest = job_manifest(self._template, launch, label=self._label)
        name: str = manifest["metadata"]["name"]
        try:
            job = await self._cluster.create(self._cluster.path("jobs"), manifest)
        except AlreadyExists:
            job = await self._cluster.get(self._cluster.path("jobs", name))
        if launch.workers > 1:
            with suppress(AlreadyExists):
                await self._cluster.create(
                    self._cluster.path("services"), service_manifest(job, label=self._label)
                )
        # From here on a Job that is not there was deleted.
        await self._mark_launched(launch.job)

    async def observe(self, job: str, attempt: int) -> Observation:
        """Look at an attempt."""
        await self._synced()
        if (seen := self._seen(job)) is None:
            if not await self._was_launched(job):
                return Observation(Phase.ABSENT)
            return await self._deleted_or_new(job)
        if not seen.ours and not await self._was_launched(job):
            # What the workers do is not written down yet.
            return Observation(Phase.ABSENT)
        pods = [*self._pods_of[seen.name].values()]
        if any(pod.unschedulable for pod in pods):
            await self._capacity.refresh()
        return observe(
            seen,
            pods,
            attempt=await self._attempt(seen, pods),
            forbidden=self._refused.get(seen.name),
            explain=self._capacity.explain,
        )

    async def stop(self, job: str, attempt: int, *, done: bool = False) -> None:
        """End what still runs of an attempt; see `Launcher.stop`.

        A Job that has ended stays for whoever wants to look at it; Kubernetes removes it in its time.
        """
        await self._synced()
        deadline = time.monotonic() + _END_SECONDS
        while done and time.monotonic() < deadline:
            if (seen := self._seen(job)) is None or seen.ended:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        if (seen := self._seen(job)) is None or seen.ended:
            return
        await self._delete(seen)

    async def _delete(self, seen: SeenJob) -> None:
        """Delete a Job, and return when it is gone with its pods."""
        await self._cluster.delete(self._cluster.path("jobs", seen.name), foreground=True)
        while self._seen(seen.key) is not None:
            await asyncio.sleep(_LOOK_SECONDS)

    def _is_at_rest(self, job: SeenJob) -> bool:
        """Say whether a Job that is to have no pods has none, or has ended meanwhile."""
        over = all(pod.phase in ("Succeeded", "Failed") for pod in self._pods_of[job.name].values())
        return bool(job.ended) or (job.held and over)

    async def suspend(self, job: str, attempt: int) -> int:
        """End what still runs of an attempt, so that `start` begins the next one; see `suspension`.

        Returns, when no pod of the job runs any more, how many attempts worker 0 has begun.
        """
        await self._synced()
        if (seen := self._seen(job)) is not None and not seen.ended:
            if seen.queue:
                check_ours(seen)
                for pod in [*self._pods_of[seen.name].values()]:
                    # The logs of a Job that is being deleted are not kept.
                    if not _is_over(pod):
                        await self._keep_log(pod)
                # First: from here on a Job that is not there was not deleted by a user.
                await self._unmark_launched(job)
                await self._delete(seen)
            elif not seen.held:
                await hold(self._cluster, seen)
            while (seen := self._seen(job)) is not None and not self._is_at_rest(seen):
                await asyncio.sleep(_LOOK_SECONDS)
        return (await asyncio.to_thread(files.latest_claim, self._objects, job))[0]

    async def clean(self, job: str) -> None:
        """Remove the Job of a job, and all that belongs to it."""
        selector = f"{self._label}={names.job_id(job)}"
        listed = await self._cluster.get(self._cluster.path("jobs"), labelSelector=selector)
        for document in listed["items"]:
            seen = self._see(document)
            if seen.key == job:
                await self._cluster.delete(self._cluster.path("jobs", seen.name))

    async def logs(self, job: str) -> list[Log]:
        """Return what the workers of a job wrote: those that run are asked, of the others it was kept."""
        kept = await asyncio.to_thread(files.read_logs, self._objects, job)
        selector = f"{self._label}={names.job_id(job)}"
        listed = await self._cluster.get(self._cluster.path("pods"), labelSelector=selector)
        pods = sorted((see_pod(document) for document in listed["items"]), key=lambda pod: pod.index)
        texts = {
            pod.name: await self._log(pod)
            for pod in pods
            if pod.name not in kept and pod.phase != "Pending" and pod.job == names.job_name(job)
        }
        return [Log(f"pod {name}", text) for name, text in {**kept, **texts}.items()]

    async def _log(self, pod: SeenPod) -> str:
        try:
            return await self._cluster.text(
                f"{self._cluster.path('pods', pod.name)}/log", tailLines="10000", limitBytes=str(LOG_BYTES)
            )
        except LeptonError as error:
            return f"({error.message})"

    async def show(self, job: str, status: job_pb2.JobStatus) -> None:
        """Write the state of a job into the labels and annotations of its Job."""
        seen = self._seen(job)
        if seen is None or seen.deleting:
            return
        state, at = self._shown.get(job, (None, 0.0))
        if status.state == state and time.monotonic() - at < _SHOW_SECONDS:
            return
        self._shown[job] = status.state, time.monotonic()
        labels, annotation = shown(status)
        document = {"metadata": {"labels": labels, "annotations": {names.STATUS_ANNOTATION: annotation}}}
        with suppress(NotFound):
            await self._cluster.patch(self._cluster.path("jobs", seen.name), document)

    async def _deleted_or_new(self, job: str) -> Observation:
        """Look at a job that was launched and that the watch does not know: any more, or yet."""
        try:
            await self._cluster.get(self._cluster.path("jobs", names.job_name(job)))
        except NotFound:
            return Observation(Phase.ENDED, DELETED.message, error=DELETED)
        return Observation(Phase.RUNNING)

    async def _mark_launched(self, job: str) -> None:
        await asyncio.to_thread(files.mark_launched, self._objects, job)
        self._launched.add(job)

    async def _unmark_launched(self, job: str) -> None:
        self._launched.discard(job)
        await asyncio.to_thread(files.unmark_launched, self._objects, job)

    async def _was_launched(self, job: str) -> bool:
        """Say whether a job's workers were given to the cluster, which does not change any more."""
        if job not in self._launched and await asyncio.to_thread(files.was_launched, self._objects, job):
            self._launched.add(job)
        return job in self._launched

    def _see(self, document: Document) -> SeenJob:
        return see_job(document, collection=self._collection, label=self._label)

    def _is_ours(self, job: SeenJob) -> bool:
        """Say whether the service has made a Job or takes it over."""
        return job.ours or bool(self._collection)

    def _own_pods(self) -> list[SeenPod]:
        """The pods, but for those of Jobs that are not ours."""
        others = {job.name for job in self._jobs.items.values() if not self._is_ours(job)}
        return [pod for pod in self._pods.items.values() if pod.job not in others]

    def _seen(self, key: str) -> SeenJob | None:
        return self._jobs.items.get(self._name_of.get(key, ""))

    async def _synced(self) -> None:
        for informer in (self._jobs, self._pods):
            await informer.synced.wait()

    async def _attempt(self, job: SeenJob, pods: Iterable[SeenPod]) -> int:
        """The number of the attempt that worker 0 has begun last."""
        first = [pod for pod in pods if pod.index == 0 and pod.phase != "Pending"]
        begun = frozenset(pod.name for pod in first)
        known, attempt = self._attempts.get(job.key, (frozenset[str](), 0))
        if begun == known:
            return attempt
        attempt, owner = await asyncio.to_thread(files.latest_claim, self._objects, job.key)
        # Asked again until the pod that runs, if one does, has begun its attempt.
        if all(pod.name == owner for pod in first if pod.phase == "Running" and not pod.deletion_due):
            self._attempts[job.key] = begun, attempt
        return attempt

    def _job_changed(self, old: SeenJob | None, new: SeenJob | None) -> None:
        job = new or old
        assert job is not None, "one of them is there"
        if new is None:
            self._name_of.pop(job.key, None)
            for index in (self._pods_of, self._refused):
                index.pop(job.name, None)
            for by_key in (self._attempts, self._shown):
                by_key.pop(job.key, None)
            self._launched.discard(job.key)
        elif self._is_ours(job):
            self._name_of[job.key] = job.name
            if old is None and not job.ours:
                self._arrived(job)
        self._changed(job.key)

    def _pod_changed(self, old: SeenPod | None, new: SeenPod | None) -> None:
        pod = new or old
        assert pod is not None, "one of them is there"
        pods = self._pods_of[pod.job]
        if new is not None:
            pods[pod.name] = new
        elif pod.phase == "Pending":
            pods.pop(pod.name, None)
        elif pod.phase != "Succeeded":
            gone_at = pod.deletion_due or time.time()
            pods[pod.name] = replace(pod, phase="Failed", deletion_due=gone_at)
        if new is not None and _is_over(new) and not (old is not None and _is_over(old)):
            self._in_background(self._keep_log(new))
        self._changed_job(pod.job)

    async def _keep_log(self, pod: SeenPod) -> None:
        """Keep what a pod wrote, once it has ended, and as soon as it is about to go."""
        job = self._jobs.items.get(pod.job)
        if job is None or job.deleting or not self._is_ours(job):
            return
        text = await self._log(pod)
        try:
            await asyncio.to_thread(files.write_log, self._objects, job.key, pod.name, text)
        except LeptonError as error:
            _log.warning("the log of a pod is not kept: %s", error, extra={"pod": pod.name})

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _event_changed(self, old: SeenEvent | None, new: SeenEvent | None) -> None:
        event = new or old
        assert event is not None, "one of them is there"
        if new is None:
            self._refused.pop(event.job, None)
        else:
            self._refused[event.job] = new
        self._changed_job(event.job)

    def _changed_job(self, name: str) -> None:
        if (job := self._jobs.items.get(name)) is not None:
            self._changed(job.key)


def _is_over(pod: SeenPod) -> bool:
    return pod.phase in ("Succeeded", "Failed") or pod.deletion_due > 0
