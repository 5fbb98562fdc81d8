"""What the documents of a cluster's API mean for an attempt."""

from typing import Any

import pytest

from lepton_common.errors import DeadlineExceeded, WorkerLost
from lepton_common.jobs.kubernetes.capacity import explain, see_node
from lepton_common.jobs.kubernetes.observing import last_loss, observe
from lepton_common.jobs.kubernetes.sight import SeenEvent, SeenJob, SeenPod, see_event, see_job, see_pod
from lepton_common.jobs.launcher import Observation, Phase

LABEL = "lepton.dev/training-job"


def job_document(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "digits-1234",
            "uid": "u-1",
            "labels": {LABEL: "digits"},
            "annotations": {"lepton.dev/job": "trainingJobs/digits/8d3f", "kubectl.kubernetes.io/x": "y"},
        },
        "spec": {"completions": 2},
        "status": status,
    }


def pod_document(index: int = 0, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"digits-1234-{index}-abcde",
            "labels": {
                "batch.kubernetes.io/job-name": "digits-1234",
                "batch.kubernetes.io/job-completion-index": str(index),
            },
        },
        "spec": {
            "nodeName": "gpu-0",
            "nodeSelector": {"pool": "gpu"},
            "containers": [
                {
                    "name": "worker",
                    "image": "example/worker:1",
                    "resources": {"limits": {"nvidia.com/gpu": "4", "memory": "1Gi"}},
                }
            ],
        },
        "status": status,
    }


def seen(job: SeenJob, *pods: SeenPod, forbidden: SeenEvent | None = None) -> Observation:
    return observe(job, pods, attempt=1, forbidden=forbidden, explain=lambda pod: "there is none")


JOB = see_job(job_document(), collection="trainingJobs", label=LABEL)


def test_a_job_of_the_service_has_the_key_that_it_was_given() -> None:
    assert (JOB.key, JOB.id, JOB.workers, JOB.ours) == ("trainingJobs/digits/8d3f", "digits", 2, True)
    assert JOB.annotations == {"lepton.dev/job": "trainingJobs/digits/8d3f"}


def test_a_job_of_a_user_has_the_key_that_its_pods_make_up() -> None:
    document = job_document()
    del document["metadata"]["annotations"]
    job = see_job(document, collection="trainingJobs", label=LABEL)
    assert (job.key, job.ours) == ("trainingJobs/digits/u-1", False)


def test_a_pod_that_was_killed_for_its_memory_says_so() -> None:
    pod = see_pod(
        pod_document(
            phase="Failed",
            containerStatuses=[
                {
                    "state": {
                        "terminated": {
                            "exitCode": 137,
                            "reason": "OOMKilled",
                            "finishedAt": "2026-01-01T00:00:00Z",
                        }
                    }
                }
            ],
        )
    )
    assert pod.exit_code == 137
    assert last_loss([pod], workers=2) == (
        "worker 0 of 2 was lost on node gpu-0 (out of memory: it took more than its container's limit)"
    )


def test_the_first_cause_counts_and_not_the_peers_that_it_took_along() -> None:
    killed = SeenPod(name="a", job="j", index=1, phase="Failed", node="gpu-1", exit_code=137, ended_at=10)
    peer = SeenPod(name="b", job="j", index=0, phase="Failed", node="gpu-0", exit_code=75, ended_at=12)
    assert last_loss([killed, peer], workers=2) == "worker 1 of 2 was lost on node gpu-1 (exit code 137)"


def test_only_the_last_attempt_is_told() -> None:
    pods = [
        SeenPod(name="a", job="j", index=0, phase="Failed", exit_code=137, ended_at=10),
        SeenPod(name="b", job="j", index=0, phase="Failed", exit_code=75, ended_at=20),
    ]
    assert last_loss(pods, workers=1) == "the worker was lost (it asked for a restart)"


@pytest.mark.parametrize(
    ("pod", "how"),
    [
        ({"disrupted": "DeletionByTaintManager", "deletion_due": 5.0}, "the node was lost or tainted"),
        ({"disrupted": "PreemptionByScheduler", "exit_code": 75}, "preempted by a pod of higher priority"),
        ({"phase": "Running", "deletion_due": 5.0}, "its pod was deleted"),
        (
            {"reason": "UnexpectedAdmissionError", "message": "no device"},
            "UnexpectedAdmissionError: no device",
        ),
        ({}, "unknown cause"),
    ],
)
def test_a_loss_is_told_by_its_cause(pod: dict[str, Any], how: str) -> None:
    lost = SeenPod(**{"name": "a", "job": "j", "index": 0, "phase": "Failed", **pod})
    assert last_loss([lost], workers=1) == f"the worker was lost ({how})"


def test_what_has_not_ended_runs() -> None:
    assert seen(JOB) == Observation(Phase.RUNNING, attempt=1)
    assert seen(JOB, see_pod(pod_document(phase="Running"))) == Observation(Phase.RUNNING, attempt=1)


def test_a_pod_without_a_place_is_waited_for() -> None:
    conditions = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    ]
    pod = see_pod(pod_document(1, phase="Pending", conditions=conditions))
    assert seen(JOB, pod).message == "worker 1 of 2 has no place: there is none"


def test_an_image_that_cannot_be_pulled_is_named() -> None:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}}
    pod = see_pod(pod_document(phase="Pending", containerStatuses=[waiting]))
    assert seen(JOB, pod).message == (
        "worker 0 of 2: its container of the image example/worker:1 cannot be started: Back-off pulling"
    )


def test_a_container_that_is_being_made_is_no_trouble() -> None:
    waiting = {"state": {"waiting": {"reason": "ContainerCreating"}}}
    pod = see_pod(pod_document(phase="Pending", containerStatuses=[waiting]))
    assert seen(JOB, pod).message == ""


def test_pods_that_may_not_be_made_are_told_by_the_event() -> None:
    event = see_event(
        {"involvedObject": {"name": "digits-1234"}, "message": "exceeded quota: gpus", "metadata": {}}
    )
    assert seen(JOB, forbidden=event).message == "the cluster refuses its pods: exceeded quota: gpus"
    both = [see_pod(pod_document(index, phase="Running")) for index in (0, 1)]
    assert seen(JOB, *both, forbidden=event).message == ""


def test_a_job_that_the_service_has_suspended_is_to_be_started() -> None:
    document = job_document()
    document["spec"]["suspend"] = True
    document["metadata"]["annotations"]["lepton.dev/suspended"] = "true"
    job = see_job(document, collection="trainingJobs", label=LABEL)
    assert job.held
    assert seen(job) == Observation(Phase.ABSENT, attempt=1)
    # Somebody has started it all the same.
    document["spec"]["suspend"] = False
    assert not see_job(document, collection="trainingJobs", label=LABEL).held


def test_a_job_in_a_queue_is_known_by_its_label() -> None:
    document = job_document()
    document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "research"
    document["spec"]["suspend"] = True
    job = see_job(document, collection="trainingJobs", label=LABEL)
    assert (job.queue, JOB.queue) == ("research", "")
    assert seen(job).message == "its Kubernetes Job is suspended"


def test_a_suspended_job_waits() -> None:
    document = job_document()
    document["spec"]["suspend"] = True
    job = see_job(document, collection="trainingJobs", label=LABEL)
    assert seen(job).message == "its Kubernetes Job is suspended"


@pytest.mark.parametrize(
    ("condition", "error", "message"),
    [
        ({"type": "Complete"}, WorkerLost, "none has told an outcome"),
        ({"type": "Failed", "reason": "DeadlineExceeded"}, DeadlineExceeded, "within the time"),
        ({"type": "Failed", "reason": "BackoffLimitExceeded"}, WorkerLost, "more often than its Job lets it"),
        ({"type": "Failed", "reason": "PodFailurePolicy", "message": "exit 1"}, WorkerLost, "exit 1"),
    ],
)
def test_a_job_that_has_ended_gets_no_other_attempt(
    condition: dict[str, str], error: type[Exception], message: str
) -> None:
    document = job_document(conditions=[{"status": "True", **condition}])
    found = seen(see_job(document, collection="trainingJobs", label=LABEL))
    assert found.phase == Phase.ENDED
    assert isinstance(found.error, error)
    assert message in str(found.error)


def test_a_condition_that_does_not_hold_means_nothing() -> None:
    document = job_document(conditions=[{"type": "Failed", "status": "False"}])
    assert seen(see_job(document, collection="trainingJobs", label=LABEL)).phase == Phase.RUNNING


def node_document(gpus: int, *, ready: str = "True", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "allocatable": {"cpu": "8", "nvidia.com/gpu": str(gpus)},
        },
    }


def test_a_place_is_explained_by_what_is_asked_for_and_what_there_is() -> None:
    pod = see_pod(pod_document(phase="Pending"))
    nodes = [
        see_node(node_document(2, pool="gpu")),
        see_node(node_document(2, pool="gpu")),
        see_node(node_document(1, pool="gpu")),
        see_node(node_document(8, pool="gpu", ready="Unknown")),
        see_node(node_document(8, pool="other")),
        see_node(node_document(0, pool="gpu")),
    ]
    assert explain(pod, nodes).startswith(
        "it asks for 4 nvidia.com/gpu on nodes with pool=gpu; of 3 ready nodes with any, 2 have 2, 1 has 1."
    )
    assert "the cluster has no such node that is ready" in explain(pod, nodes[3:])


def test_without_the_right_to_read_nodes_the_scheduler_is_quoted() -> None:
    pod = SeenPod(name="a", job="j", index=0, gpus=(("nvidia.com/gpu", 4),), unschedulable="0/3 nodes")
    assert explain(pod, None) == "The scheduler says: 0/3 nodes"
