"""What the Jobs, pods and events of a cluster mean for an attempt."""

from collections.abc import Callable, Sequence

from lepton_common.errors import Cancelled, DeadlineExceeded, LeptonError, WorkerLost
from lepton_common.jobs.kubernetes.sight import SeenEvent, SeenJob, SeenPod
from lepton_common.jobs.launcher import RESTART_EXIT_CODE, Observation, Phase

Explain = Callable[[SeenPod], str]
"""Says why there is no place for a pod."""

DELETED = Cancelled("its Kubernetes Job was deleted")


def observe(
    job: SeenJob,
    pods: Sequence[SeenPod],
    *,
    attempt: int,
    forbidden: SeenEvent | None,
    explain: Explain,
) -> Observation:
    """Tell a Job's state as that of an attempt.

    Args:
        job: The Job.
        pods: Its pods, those that were deleted lately too.
        attempt: The attempt that is under way.
        forbidden: The last event that said that a pod could not be made.
        explain: Says why there is no place for a pod.
    """
    cause = last_loss(pods, workers=job.workers)
    if job.ended:
        return Observation(Phase.ENDED, cause, attempt=attempt, error=_final(job, cause))
    if job.held:
        return Observation(Phase.ABSENT, attempt=attempt)
    active = [pod for pod in pods if pod.phase in ("Pending", "Running") and not pod.deletion_due]
    waits_for = _waits_for(job, active, forbidden=forbidden, explain=explain)
    return Observation(Phase.RUNNING, waits_for, attempt=attempt)


def last_loss(pods: Sequence[SeenPod], *, workers: int) -> str:
    """Say how the last attempt ended that has; empty if none has.

    Of workers that were lost together the first cause counts: the others ask for a restart because of it.
    """
    gone = (pod for pod in pods if pod.lost or (pod.deletion_due and pod.phase != "Succeeded"))
    lost = sorted(gone, key=_ended_at)
    causes = [pod for pod in lost[-workers:] if pod.exit_code != RESTART_EXIT_CODE or pod.disrupted]
    if not lost:
        return ""
    pod = (causes or lost)[-1]
    who = "the worker" if workers == 1 else f"worker {pod.index} of {workers}"
    where = f" on node {pod.node}" if pod.node else ""
    return f"{who} was lost{where} ({_how(pod)})"


def _ended_at(pod: SeenPod) -> float:
    return pod.ended_at or pod.deletion_due


def _how(pod: SeenPod) -> str:
    if pod.disrupted:
        return {
            "DeletionByTaintManager": "the node was lost or tainted",
            "PreemptionByScheduler": "preempted by a pod of higher priority",
            "EvictionByEvictionAPI": "evicted",
            "TerminationByKubelet": "evicted by the node",
            "DeletionByPodGC": "the node is gone",
        }.get(pod.disrupted, pod.disrupted)
    if pod.reason == "OOMKilled":
        return "out of memory: it took more than its container's limit"
    if pod.exit_code == RESTART_EXIT_CODE:
        return "it asked for a restart"
    if pod.exit_code is not None:
        return f"exit code {pod.exit_code}"
    if pod.deletion_due:
        return "its pod was deleted"
    return f"{pod.reason}: {pod.message}".strip(": ") or "unknown cause"


def _final(job: SeenJob, cause: str) -> LeptonError:
    """Why there is no other attempt; it counts where no worker has told an outcome."""
    if job.ended == "Complete":
        return WorkerLost("all its pods have ended well, and none has told an outcome")
    if job.reason == "DeadlineExceeded":
        return DeadlineExceeded("it has not ended within the time that was set for it")
    if job.reason == "BackoffLimitExceeded":
        return WorkerLost(f"{cause or 'its workers were lost'}, more often than its Job lets it")
    return WorkerLost(f"{cause or 'its Job has failed'}: {job.message}")


def _waits_for(
    job: SeenJob, active: Sequence[SeenPod], *, forbidden: SeenEvent | None, explain: Explain
) -> str:
    if job.deleting:
        return "its Kubernetes Job is being deleted"
    if job.suspended:
        return "its Kubernetes Job is suspended"
    for pod in active:
        if pod.broken:
            return f"{_who(job, pod)}: {pod.broken}"
    for pod in active:
        if pod.unschedulable:
            return f"{_who(job, pod)} has no place: {explain(pod)}"
    if len(active) < job.workers and forbidden is not None:
        return f"the cluster refuses its pods: {forbidden.message}"
    return ""


def _who(job: SeenJob, pod: SeenPod) -> str:
    return "the worker" if job.workers == 1 else f"worker {pod.index} of {job.workers}"
