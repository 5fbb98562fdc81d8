"""Jobs and pods as far as they matter, cut from what the API sends."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lepton_common.jobs.kubernetes import names
from lepton_common.jobs.kubernetes.cluster import Document

_BROKEN = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons that a container waits for something that does not come by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenJob:
    """A Job.

    Attributes:
        name: Its name.
        uid: Unique over all time.
        id: The id of the job that it carries, from its label.
        key: The key of that job.
        annotations: Those of this project.
        workers: How many pods work together.
        suspended: Whether it may have no pods.
        queue: The queue of Kueue that decides whether it may; empty for none.
        ended: "Complete", "Failed", or empty.
        reason: Why it has failed, for a program. Example: "BackoffLimitExceeded".
        message: Why it has failed, for a person.
        deleting: Whether it is being deleted.
        ours: Whether the service has made it; else a user has.
    """

    name: str
    uid: str
    id: str
    key: str
    annotations: dict[str, str] = field(default_factory=dict)
    workers: int = 1
    suspended: bool = False
    queue: str = ""
    ended: str = ""
    reason: str = ""
    message: str = ""
    deleting: bool = False
    ours: bool = True

    @property
    def held(self) -> bool:
        """Whether it is suspended because its job is, and not by Kueue or with kubectl."""
        return self.suspended and names.SUSPENDED_ANNOTATION in self.annotations


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPod:
    """A pod.

    Attributes:
        name: Its name; no two pods of a Job ever have the same.
        job: The name of its Job.
        index: Which worker it is.
        phase: "Pending", "Running", "Succeeded", "Failed" or "Unknown".
        node: Where it is, or was; empty before it has a place.
        gpus: Name and number of the extended resources that it asks for.
        selector: Which nodes it asks for, by their labels.
        unschedulable: What the scheduler says of it; empty while it has nothing to complain of.
        broken: Why its container cannot be started; empty where it can.
        exit_code: Of a container that has ended.
        reason: Why it has failed. Examples: "OOMKilled", "Evicted".
        message: The same for a person.
        ended_at: When its container ended, Unix time; 0 before.
        disrupted: Why the cluster takes it away. Example: "DeletionByTaintManager".
        deletion_due: Unix time when it is to be gone; 0 for one that may stay.
    """

    name: str
    job: str
    index: int
    phase: str = "Pending"
    node: str = ""
    gpus: tuple[tuple[str, int], ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    unschedulable: str = ""
    broken: str = ""
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    ended_at: float = 0.0
    disrupted: str = ""
    deletion_due: float = 0.0

    @property
    def lost(self) -> bool:
        """Whether it has ended without having done its work."""
        return self.phase == "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvent:
    """An event: that pods of a Job could not be made.

    Attributes:
        job: The name of the Job.
        message: Why.
        at: When that last happened, Unix time.
    """

    job: str
    message: str
    at: float


def see_job(document: Document, *, collection: str, label: str) -> SeenJob:
    """Cut a Job down.

    Args:
        document: The Job, with the label.
        collection: The collection of the jobs. Example: "trainingJobs".
        label: The label with a job's id.
    """
    metadata, spec = document["metadata"], document["spec"]
    annotations = {
        name: value
        for name, value in metadata.get("annotations", {}).items()
        if name.startswith("lepton.dev/") and name != names.STATUS_ANNOTATION
    }
    ends = {
        condition["type"]: condition
        for condition in document.get("status", {}).get("conditions", [])
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed")
    }
    ended = next(iter(ends), "")
    identity = metadata.get("labels", {}).get(label, "")
    own = annotations.get(names.JOB_ANNOTATION, "")
    return SeenJob(
        name=metadata["name"],
        uid=metadata["uid"],
        id=identity,
        key=own or f"{collection}/{identity}/{metadata['uid']}",
        annotations=annotations,
        workers=spec.get("completions") or 1,
        suspended=bool(spec.get("suspend")),
        queue=metadata.get("labels", {}).get(names.QUEUE_LABEL, ""),
        ended=ended,
        reason=ends[ended].get("reason", "") if ended else "",
        message=ends[ended].get("message", "") if ended else "",
        deleting="deletionTimestamp" in metadata,
        ours=bool(own),
    )


def see_pod(document: Document) -> SeenPod:
    """Cut a pod down."""
    metadata, spec, status = document["metadata"], document["spec"], document.get("status", {})
    labels = metadata.get("labels", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    disrupted = conditions.get("DisruptionTarget", {})
    containers: list[Document] = status.get("containerStatuses", [])
    container: Document = containers[0].get("state", {}) if containers else {}
    waiting, terminated = container.get("waiting", {}), container.get("terminated", {})
    return SeenPod(
        name=metadata["name"],
        job=labels.get(names.JOB_NAME_LABEL, ""),
        index=int(labels.get(names.INDEX_LABEL, 0)),
        phase=status.get("phase", "Pending"),
        node=spec.get("nodeName", ""),
        gpus=tuple(sorted(_extended(spec).items())),
        selector=tuple(sorted(spec.get("nodeSelector", {}).items())),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else "",
        broken=_broken(waiting, spec),
        exit_code=terminated.get("exitCode"),
        reason=terminated.get("reason") or status.get("reason", ""),
        message=terminated.get("message") or status.get("message", ""),
        ended_at=unix_time(terminated.get("finishedAt")),
        disrupted=disrupted.get("reason", "") if disrupted.get("status") == "True" else "",
        deletion_due=unix_time(metadata.get("deletionTimestamp")),
    )


def see_event(document: Document) -> SeenEvent:
    """Cut an event down."""
    at = document.get("lastTimestamp") or document.get("eventTime") or ""
    job: str = document["involvedObject"]["name"]
    return SeenEvent(job=job, message=document.get("message", ""), at=unix_time(at))


def unix_time(text: str | None) -> float:
    """Return the Unix time of what the API calls a time; 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _extended(spec: Document) -> dict[str, int]:
    """The extended resources, as GPUs, that a pod asks for: those with a domain."""
    asked: dict[str, int] = {}
    for container in spec["containers"]:
        limits: dict[str, Any] = container.get("resources", {}).get("limits", {})
        for name, count in limits.items():
            if "/" in name:
                asked[name] = asked.get(name, 0) + int(count)
    return asked


def _broken(waiting: Document, spec: Document) -> str:
    reason = waiting.get("reason", "")
    if reason not in _BROKEN:
        return ""
    image = spec["containers"][0]["image"]
    return f"its container of the image {image} cannot be started: {waiting.get('message') or reason}"
