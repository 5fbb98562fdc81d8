"""What the objects of a job are called and labelled."""

import hashlib
import re

JOB_ANNOTATION = "lepton.dev/job"
"""Annotation of a Job that the service has made: the job's key."""

STATUS_ANNOTATION = "lepton.dev/status"
"""Annotation of every Job of ours: the state of the job, JSON."""

SUSPENDED_ANNOTATION = "lepton.dev/suspended"
"""Annotation of a Job that is suspended because its job is: nobody else's business to start."""

STATE_LABEL = "lepton.dev/state"
PROGRESS_LABEL = "lepton.dev/progress"
"""Labels of every Job of ours, for `kubectl get jobs -L lepton.dev/state,lepton.dev/progress`."""

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
"""Labels that Kubernetes gives to the pods of a Job."""

GPU_PRODUCT_LABEL = "nvidia.com/gpu.product"
"""Label of nodes, from NVIDIA's feature discovery."""

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Label of Jobs, for Kueue."""

PEER_PORT = 7100
"""Where workers find each other."""

_LONGEST_LABEL = 63
"""Characters of a label's value."""

_LONGEST = 52
"""Pods are called after their Job, with an index and five letters more, in 63."""


def job_name(key: str) -> str:
    """Return what the Job of a job is called: the same at every try, and no other job's.

    Args:
        key: The job's key. Example: "trainingJobs/digits/8d3f...".
    """
    digest = hashlib.sha256(key.encode()).hexdigest()[:10]
    return f"{_ids(key)[: _LONGEST - 11].rstrip('-')}-{digest}"


def job_id(key: str) -> str:
    """Return the id that a user gave to a job, as a label may have it, after those of what it belongs to.

    Args:
        key: The job's key. Examples: "trainingJobs/digits/8d3f...", "datasets/iris/versions/1/8d3f...".

    Returns:
        Example: "digits", "iris-1". Of one that is too long the end stays.
    """
    return _ids(key)[-_LONGEST_LABEL:].strip("-")


def peers(name: str, workers: int) -> list[str]:
    """Return where each worker of a Job listens: names that its headless Service gives to its pods."""
    return [f"{name}-{index}.{name}:{PEER_PORT}" for index in range(workers)]


def _ids(key: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", "-".join(key.split("/")[1:-1:2]))
