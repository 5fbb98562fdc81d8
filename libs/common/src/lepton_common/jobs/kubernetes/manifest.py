"""From a template and a launch to the Job and the Service that Kubernetes is given."""

import copy
from pathlib import Path
from typing import Any

import yaml

from lepton_common.errors import InvalidField
from lepton_common.jobs.kubernetes import names
from lepton_common.jobs.kubernetes.cluster import Document
from lepton_common.jobs.launcher import RESTART_EXIT_CODE, Launch

GPU_RESOURCE = "nvidia.com/gpu"

_DEFAULTS: Document = {
    # So many pods may be lost by their own fault; what the cluster takes away does not count.
    "backoffLimit": 4,
    "ttlSecondsAfterFinished": 24 * 3600,
}


def read_template(path: Path) -> Document:
    """Read the manifest of a Job that all Jobs are made from.

    Raises:
        InvalidField: It is none, or has no container.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidField(f"the job template {path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != "Job":
        raise InvalidField(f"the job template {path} is not the manifest of a Job")
    try:
        if document["spec"]["template"]["spec"]["containers"][0]["image"]:
            return document
    except (KeyError, IndexError, TypeError):
        pass
    raise InvalidField(f"the job template {path} has no spec.template.spec.containers[0].image")


def owned(template: Document, owner: Document) -> Document:
    """Return the template of Jobs that go with a ConfigMap, as the cluster has it."""
    metadata = owner["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": metadata["uid"]}
    return {**template, "metadata": {**template.get("metadata", {}), "ownerReferences": [reference]}}


def job_manifest(template: Document, launch: Launch, *, label: str) -> Document:
    """Return the Job of a launch: Indexed, so that each worker knows which one it is.

    Args:
        template: See `read_template`; its first container is the worker's. Its labels, resources, node
            selectors, tolerations and so on stay, but for what the launch asks for.
        launch: What to run.
        label: The label that gets the job's id.
    """
    document = copy.deepcopy(template)
    name, placement = names.job_name(launch.job), launch.placement
    labels = {label: names.job_id(launch.job)}
    metadata = document.setdefault("metadata", {})
    metadata["name"] = name
    metadata.pop("namespace", None)
    metadata.setdefault("labels", {}).update(labels)
    metadata.setdefault("annotations", {})[names.JOB_ANNOTATION] = launch.job
    if placement.queue:
        metadata["labels"][names.QUEUE_LABEL] = placement.queue
    spec = document["spec"]
    for field, value in _DEFAULTS.items():
        spec.setdefault(field, value)
    spec |= {
        "completionMode": "Indexed",
        "completions": launch.workers,
        "parallelism": launch.workers,
        "podFailurePolicy": {"rules": failure_rules(spec["template"]["spec"]["containers"][0])},
    }
    if placement.deadline_seconds:
        spec["activeDeadlineSeconds"] = placement.deadline_seconds
    pod = spec["template"]
    pod.setdefault("metadata", {}).setdefault("labels", {}).update(labels)
    # Every failure is a new pod: one that is restarted in its place would be no matter of the policy.
    pod["spec"] |= {"restartPolicy": "Never", "subdomain": name}
    if placement.priority_class:
        pod["spec"]["priorityClassName"] = placement.priority_class
    if placement.gpu_product:
        pod["spec"].setdefault("nodeSelector", {})[names.GPU_PRODUCT_LABEL] = placement.gpu_product
    _fill_in(pod["spec"]["containers"][0], launch, name=name)
    return document


def failure_rules(container: Document) -> list[Document]:
    """Return what becomes of a Job whose pod fails.

    What the cluster takes away, and what asks for a restart, is made anew without being counted; a worker
    that says that no other attempt would do better ends the Job at once. All else is counted.
    """
    name = container["name"]

    def exits(action: str, code: int) -> Document:
        return {
            "action": action,
            "onExitCodes": {"containerName": name, "operator": "In", "values": [code]},
        }

    return [
        exits("FailJob", 1),
        exits("Ignore", RESTART_EXIT_CODE),
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def service_manifest(job: Document, *, label: str) -> Document:
    """Return the headless Service that gives the pods of a Job their names; it goes with the Job.

    Args:
        job: The Job as the cluster has it.
        label: The label with the job's id.
    """
    metadata = job["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": metadata["name"],
            "labels": {label: metadata["labels"][label]},
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "clusterIP": "None",
            # Workers look for each other before any of them is ready.
            "publishNotReadyAddresses": True,
            "selector": {names.JOB_NAME_LABEL: metadata["name"]},
            "ports": [{"name": "peers", "port": names.PEER_PORT, "protocol": "TCP"}],
        },
    }


def _fill_in(container: Document, launch: Launch, *, name: str) -> None:
    given: dict[str, Any] = {entry["name"]: entry for entry in container.get("env", [])}
    for variable, value in launch.environment.items():
        given[variable] = {"name": variable, "value": value}
    given["LEPTON_POD"] = {
        "name": "LEPTON_POD",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
    }
    peers = ",".join(names.peers(name, launch.workers))
    given["LEPTON_PEERS"] = {"name": "LEPTON_PEERS", "value": peers}
    container["env"] = [*given.values()]
    if launch.placement.gpus:
        resources = container.setdefault("resources", {})
        resources.setdefault("limits", {})[GPU_RESOURCE] = launch.placement.gpus
        if GPU_RESOURCE in resources.get("requests", {}):
            resources["requests"][GPU_RESOURCE] = launch.placement.gpus
