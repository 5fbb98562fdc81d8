"""The pods of inference pools in a namespace of Kubernetes, and what keeps them from running."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lepton_common.jobs.kubernetes.capacity import Capacity
from lepton_common.jobs.kubernetes.cluster import Cluster, Document
from lepton_common.jobs.kubernetes.informer import Informer
from lepton_common.jobs.kubernetes.observing import Explain
from lepton_common.jobs.kubernetes.sight import SeenEvent, SeenPod, see_event, see_pod
from lepton_registry.pool import Place

POOL_LABEL = "lepton.dev/pool"
"""Label of the pods of inference servers: the name of their pool."""

_REFUSED_SECONDS = 1200.0
"""For how long an event counts: Kubernetes tries again within a quarter of an hour."""

_REPLICA_SET = re.compile(r".*-inference-(?P<pool>.+)-[a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPod:
    """A pod of a pool.

    Attributes:
        pod: What keeps it from having a place or from starting.
        pool: The pool that it is for.
        ready: Whether it takes requests.
        restarts: How often its container has ended.
    """

    pod: SeenPod
    pool: str
    ready: bool
    restarts: int


def see_pool_pod(document: Document) -> PoolPod:
    """Cut a pod down."""
    status = document.get("status", {})
    ready = any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in status.get("conditions", [])
    )
    containers: list[Document] = status.get("containerStatuses", [])
    return PoolPod(
        pod=see_pod(document),
        pool=document["metadata"]["labels"][POOL_LABEL],
        ready=ready,
        restarts=max((container.get("restartCount", 0) for container in containers), default=0),
    )


class PoolPods:
    """The pods of all pools, from a watch."""

    def __init__(self, cluster: Cluster) -> None:
        """Prepare; `run` follows the cluster."""
        self._capacity = Capacity(cluster)
        self._pods = Informer(
            cluster,
            "pods",
            keep=see_pool_pod,
            changed=lambda old, new: None,
            selectors={"labelSelector": POOL_LABEL},
        )
        self._events = Informer(
            cluster,
            "events",
            keep=see_event,
            changed=lambda old, new: None,
            selectors={"fieldSelector": "reason=FailedCreate,involvedObject.kind=ReplicaSet"},
        )

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in (self._pods, self._events):
                group.create_task(informer.run())

    async def places(self) -> Sequence[Place] | None:
        """Return the servers of all pools; None while the cluster does not tell."""
        if not self._pods.synced.is_set():
            return None
        pods = [each for each in self._pods.items.values() if _counts(each.pod)]
        if any(each.pod.unschedulable for each in pods):
            await self._capacity.refresh()
        return [
            Place(pool=each.pool, ready=each.ready, trouble=trouble(each, explain=self._capacity.explain))
            for each in pods
        ]

    def refused(self) -> Mapping[str, str]:
        """Return why the cluster makes no servers, by pool."""
        since = time.time() - _REFUSED_SECONDS
        lately = (event for event in self._events.items.values() if event.at >= since)
        return {
            pool: event.message
            for event in sorted(lately, key=lambda event: event.at)
            if (pool := pool_of(event))
        }


def trouble(seen: PoolPod, *, explain: Explain) -> str:
    """Say what keeps a pod from taking requests; empty if nothing is known to.

    Args:
        seen: The pod.
        explain: Says why there is no place for a pod.
    """
    if seen.ready:
        return ""
    if seen.pod.unschedulable:
        return f"has no place: {explain(seen.pod)}"
    if seen.pod.broken:
        return f"cannot start: {seen.pod.broken}"
    if seen.restarts:
        return "ends again and again: its log says why"
    return ""


def pool_of(event: SeenEvent) -> str:
    """Return the pool whose pod could not be made; empty if it was none of a pool.

    The event names the ReplicaSet alone, which is called RELEASE-inference-POOL-HASH.
    """
    match = _REPLICA_SET.fullmatch(event.job)
    return match["pool"] if match else ""


def _counts(pod: SeenPod) -> bool:
    """Whether it is to run; one that was evicted or is going has a successor."""
    return pod.phase in ("Pending", "Running", "Unknown") and not pod.deletion_due
