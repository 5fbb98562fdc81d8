"""Pods on nodes that do not answer: taken off the list, so that others can take their place."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from lepton_common.errors import LeptonError, NotFound
from lepton_common.jobs.kubernetes.cluster import Cluster
from lepton_common.jobs.kubernetes.sight import SeenPod

_SWEEP_SECONDS = 2.0
_OVERDUE_SECONDS = 15.0
"""A pod that should have been gone for so long is on a node that does not answer."""

_log = logging.getLogger(__name__)


async def sweep(cluster: Cluster, pods: Callable[[], Iterable[SeenPod]]) -> None:
    """Take pods off the list whose nodes do not answer, until cancelled.

    Kubernetes keeps them until the node is back, for it cannot know whether they still write somewhere.
    These may: every attempt has places of its own.

    Args:
        cluster: Where they are.
        pods: Tells which there are.
    """
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        for pod in pods():
            if not pod.deletion_due or pod.phase not in ("Running", "Pending") or not pod.node:
                continue
            try:
                if time.time() > pod.deletion_due + _OVERDUE_SECONDS or await _is_gone(cluster, pod.node):
                    await _give_up(cluster, pod)
            except LeptonError as error:
                _log.warning("a lost pod stays: %s", error, extra={"pod": pod.name})


async def _give_up(cluster: Cluster, pod: SeenPod) -> None:
    """Say that a pod has failed because of its node, and take it off the list."""
    _log.warning("a pod is on a node that is gone", extra={"pod": pod.name, "node": pod.node})
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": pod.disrupted or "NodeLost",
        "message": "its node does not answer",
    }
    path = cluster.path("pods", pod.name)
    # A Job makes no other pod before this one has ended, and only its node could say so.
    with suppress(NotFound):
        await cluster.patch(f"{path}/status", {"status": {"phase": "Failed", "conditions": [condition]}})
    await cluster.delete(path, grace_seconds=0)


async def _is_gone(cluster: Cluster, node: str) -> bool:
    """Say whether a node does not answer; no where nobody may tell."""
    try:
        document = await cluster.get(cluster.path("nodes", node))
    except NotFound:
        return True
    except LeptonError:
        return False
    conditions = document.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "Unknown" for each in conditions)
