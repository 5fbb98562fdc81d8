"""How many GPUs a cluster has, for whoever waits for some."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lepton_common.errors import LeptonError
from lepton_common.jobs.kubernetes.cluster import Cluster, Document
from lepton_common.jobs.kubernetes.sight import SeenPod

_FRESH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node: its labels, whether it takes pods, and what it has of each extended resource."""

    labels: dict[str, str]
    ready: bool
    allocatable: dict[str, int]


class Capacity:
    """Knows the nodes, as they were at most half a minute ago."""

    def __init__(self, cluster: Cluster) -> None:
        """Ask `cluster` when somebody wants to know."""
        self._cluster = cluster
        self._nodes: Sequence[SeenNode] | None = None
        self._asked_at = float("-inf")

    async def refresh(self) -> None:
        """Read the nodes anew if they were read too long ago; without the right to, do without."""
        if time.monotonic() - self._asked_at < _FRESH_SECONDS:
            return
        self._asked_at = time.monotonic()
        try:
            # From the API server's memory: what is a little old is good enough.
            listed = await self._cluster.get(self._cluster.path("nodes"), resourceVersion="0")
        except LeptonError:
            self._nodes = None
            return
        self._nodes = [see_node(document) for document in listed["items"]]

    def explain(self, pod: SeenPod) -> str:
        """Say why there is no place for a pod: what it asks for, and what there is."""
        return explain(pod, self._nodes)


def see_node(document: Document) -> SeenNode:
    """Cut a node down."""
    status = document.get("status", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    schedulable = not document.get("spec", {}).get("unschedulable")
    return SeenNode(
        labels=document["metadata"].get("labels", {}),
        ready=conditions.get("Ready") == "True" and schedulable,
        allocatable={
            name: int(count) for name, count in status.get("allocatable", {}).items() if "/" in name
        },
    )


def explain(pod: SeenPod, nodes: Sequence[SeenNode] | None) -> str:
    """Say why there is no place for a pod.

    Args:
        pod: The pod, which the scheduler has complained of.
        nodes: All nodes; None where nobody may read them.

    Returns:
        Example: "it asks for 4 nvidia.com/gpu; of 2 ready nodes that have any, 2 have 2. The scheduler says:
        0/3 nodes are available: ...".
    """
    said = f"The scheduler says: {pod.unschedulable}"
    if not pod.gpus or nodes is None:
        return said
    asked = " and ".join(f"{count} {name}" for name, count in pod.gpus)
    labels = ", ".join(f"{name}={value}" for name, value in pod.selector)
    fitting = [node for node in nodes if all(node.labels.get(name) == value for name, value in pod.selector)]
    where = f" on nodes with {labels}" if labels else ""
    return f"it asks for {asked}{where}; {_has(pod, fitting)}. {said}"


def _has(pod: SeenPod, nodes: Sequence[SeenNode]) -> str:
    resource = pod.gpus[0][0]
    counts = Counter(node.allocatable.get(resource, 0) for node in nodes if node.ready)
    counts.pop(0, None)
    if not counts:
        return "the cluster has no such node that is ready"
    told = ", ".join(
        f"{many} {'has' if many == 1 else 'have'} {count}"
        for count, many in sorted(counts.items(), reverse=True)
    )
    total = sum(counts.values())
    return f"of {total} ready {'node' if total == 1 else 'nodes'} with any, {told}"
