"""Jobs that are to have no pods for a while, because the job that they carry is suspended.

Kubernetes deletes the pods of a Job with `spec.suspend`, and makes new ones when that is taken back. An
annotation tells such a Job from one that Kueue or a user has suspended: those are left to them, and the job
waits.

In a queue, Kueue decides: what it has admitted it starts again at once, so `spec.suspend` would be a
quarrel. The service takes its own Job out of the queue by deleting it, which gives the quota back; resumed,
it is a new Job that queues like any other, and goes on from the checkpoint. A user's Job cannot be
made anew, and is left to its queue.
"""

from lepton_common.errors import NotFound, WrongState
from lepton_common.jobs.kubernetes import names
from lepton_common.jobs.kubernetes.cluster import Cluster
from lepton_common.jobs.kubernetes.sight import SeenJob


async def hold(cluster: Cluster, job: SeenJob) -> None:
    """Have Kubernetes delete the pods of a Job, each with its grace, and make no others."""
    await _patch(cluster, job, suspend=True, mark="true")


async def let_go(cluster: Cluster, job: SeenJob) -> None:
    """Have Kubernetes make pods of a Job again."""
    await _patch(cluster, job, suspend=False, mark=None)


def check_ours(job: SeenJob) -> None:
    """Check that a Job in a queue may be taken out of it.

    Raises:
        WrongState: A user has put it there.
    """
    if not job.ours:
        raise WrongState(
            f"its Job was applied with kubectl and is in the queue {job.queue!r}, where Kueue decides when "
            "it runs: set spec.active of its Workload to false, and to true to resume it"
        )


async def _patch(cluster: Cluster, job: SeenJob, *, suspend: bool, mark: str | None) -> None:
    annotations = {names.SUSPENDED_ANNOTATION: mark}
    document = {"metadata": {"annotations": annotations}, "spec": {"suspend": suspend}}
    try:
        await cluster.patch(cluster.path("jobs", job.name), document)
    except NotFound:
        # Deleted meanwhile: the watch will tell.
        return
