"""From a template and a launch to a Job."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lepton_common.errors import InvalidField
from lepton_common.jobs import files
from lepton_common.jobs.kubernetes import names
from lepton_common.jobs.kubernetes.manifest import job_manifest, owned, read_template, service_manifest
from lepton_common.jobs.launcher import Launch, Placement
from lepton_common.jobs.worker import Worker
from lepton_common.objects import ObjectStore

KEY = "trainingJobs/digits/8d3f0c2e"
LABEL = "lepton.dev/training-job"

TEMPLATE = """
apiVersion: batch/v1
kind: Job
metadata:
  namespace: elsewhere
  labels: {team: vision}
spec:
  ttlSecondsAfterFinished: 60
  template:
    spec:
      nodeSelector: {nvidia.com/gpu.present: "true"}
      containers:
        - name: trainer
          image: example/worker:1
          env: [{name: AWS_REGION, value: here}, {name: LEPTON_WORKERS, value: "9"}]
          resources: {limits: {nvidia.com/gpu: 1, memory: 1Gi}}
"""


@pytest.fixture
def template(tmp_path: Path) -> dict[str, Any]:
    """A template as an administrator writes it."""
    path = tmp_path / "job.yaml"
    path.write_text(TEMPLATE)
    return read_template(path)


def launch(*, workers: int = 2, **placement: Any) -> Launch:
    return Launch(
        job=KEY,
        attempt=1,
        module="lepton_trainer.worker",
        environment={"LEPTON_JOB": KEY, "LEPTON_WORKERS": str(workers)},
        workers=workers,
        placement=Placement(**placement),
    )


def test_a_job_goes_with_the_owner_of_its_template(template: dict[str, Any]) -> None:
    owner = {"metadata": {"name": "lepton-trainer-job", "uid": "c0ffee", "resourceVersion": "7"}}
    job = job_manifest(owned(template, owner), launch(), label=LABEL)
    assert job["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "lepton-trainer-job", "uid": "c0ffee"}
    ]
    assert job["metadata"]["labels"]["team"] == "vision"
    assert "ownerReferences" not in template["metadata"]


def test_a_job_is_indexed_and_called_after_its_key(template: dict[str, Any]) -> None:
    job = job_manifest(template, launch(), label=LABEL)
    assert job["metadata"]["name"] == names.job_name(KEY)
    assert "namespace" not in job["metadata"]
    assert job["metadata"]["labels"] == {"team": "vision", LABEL: "digits"}
    assert job["metadata"]["annotations"] == {"lepton.dev/job": KEY}
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["template"]["metadata"]["labels"] == {LABEL: "digits"}


def test_what_the_template_says_stays_and_the_rest_has_defaults(template: dict[str, Any]) -> None:
    spec = job_manifest(template, launch(), label=LABEL)["spec"]
    assert spec["ttlSecondsAfterFinished"] == 60
    assert spec["backoffLimit"] == 4
    assert "activeDeadlineSeconds" not in spec
    container = spec["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "1Gi"}


def test_a_template_is_not_changed(template: dict[str, Any]) -> None:
    job_manifest(template, launch(gpus=8), label=LABEL)
    assert template == yaml.safe_load(TEMPLATE)


def test_workers_are_told_what_the_launch_says_and_where_their_peers_are(template: dict[str, Any]) -> None:
    job = job_manifest(template, launch(), label=LABEL)
    name = job["metadata"]["name"]
    environment = {entry["name"]: entry for entry in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment["AWS_REGION"]["value"] == "here"
    assert environment["LEPTON_WORKERS"]["value"] == "2"
    assert environment["LEPTON_PEERS"]["value"] == f"{name}-0.{name}:7100,{name}-1.{name}:7100"
    assert environment["LEPTON_POD"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert "LEPTON_ATTEMPT" not in environment
    assert job["spec"]["template"]["spec"]["subdomain"] == name


def test_a_placement_becomes_limits_selectors_and_a_queue(template: dict[str, Any]) -> None:
    placed = launch(
        gpus=8, gpu_product="NVIDIA-H200", queue="research", priority_class="low", deadline_seconds=3600
    )
    job = job_manifest(template, placed, label=LABEL)
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-H200"}
    assert pod["priorityClassName"] == "low"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert job["spec"]["activeDeadlineSeconds"] == 3600


def test_the_first_rule_that_fits_decides_what_a_failure_means(template: dict[str, Any]) -> None:
    rules = job_manifest(template, launch(), label=LABEL)["spec"]["podFailurePolicy"]["rules"]
    assert [(rule["action"], rule.get("onExitCodes", {}).get("values")) for rule in rules] == [
        ("FailJob", [1]),
        ("Ignore", [75]),
        ("Ignore", None),
    ]
    assert rules[0]["onExitCodes"]["containerName"] == "trainer"


def test_the_service_goes_with_the_job(template: dict[str, Any]) -> None:
    job = job_manifest(template, launch(), label=LABEL)
    job["metadata"]["uid"] = "1234"
    service = service_manifest(job, label=LABEL)
    (owner,) = service["metadata"]["ownerReferences"]
    assert (owner["name"], owner["uid"]) == (job["metadata"]["name"], "1234")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("kind: Pod", "not the manifest of a Job"),
        ("- 1", "not the manifest of a Job"),
        ("kind: Job\nspec: {template: {spec: {containers: []}}}", "has no spec.template"),
        ("kind: Job\nspec: 7", "has no spec.template"),
    ],
)
def test_a_template_that_is_no_job_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(InvalidField, match=message):
        read_template(path)


def test_a_template_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="cannot be read"):
        read_template(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "identity", ["a", "digits", "x" * 63, "ends-with-hyphens-" + "-" * 30 + "a", "a" * 40 + "-b"]
)
def test_names_fit_a_label_with_what_kubernetes_adds(identity: str) -> None:
    name = names.job_name(f"trainingJobs/{identity}/8d3f0c2e")
    assert len(f"{name}-1023") <= 63
    assert "--" not in name[-12:]
    assert name == names.job_name(f"trainingJobs/{identity}/8d3f0c2e")
    assert name != names.job_name(f"trainingJobs/{identity}/8d3f0c2f")


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("trainingJobs/digits/8d3f", "digits"),
        ("compressionJobs/digits-small/8d3f", "digits-small"),
        ("datasets/iris/versions/12/8d3f", "iris-12"),
        ("agents/taxi/learningRuns/first/8d3f", "taxi-first"),
        (f"datasets/{'x' * 63}/versions/12/8d3f", f"{'x' * 60}-12"),
        (f"agents/{'x' * 62}/learningRuns/{'y' * 63}/8d3f", "y" * 63),
        (f"agents/{'x' * 10}/learningRuns/{'y' * 62}/8d3f", "y" * 62),
    ],
    ids=lambda text: text[:24],
)
def test_a_label_says_which_job_it_is_and_what_of(key: str, label: str) -> None:
    assert names.job_id(key) == label


@pytest.mark.parametrize("key", ["datasets/iris/versions/12/8d3f", f"agents/{'x' * 63}/learningRuns/y/8d3f"])
def test_a_job_of_something_is_called_after_that_first(key: str) -> None:
    name = names.job_name(key)
    assert name.startswith(key.split("/")[1][:41])
    assert len(f"{name}-1023") <= 63


def test_a_worker_needs_no_more_than_a_pod_is_given(template: dict[str, Any], tmp_path: Path) -> None:
    objects = ObjectStore(f"file://{tmp_path}/objects")
    files.write_spec(objects, KEY, {"epochs": 3})
    given = {"LEPTON_JOB": KEY, "LEPTON_OBJECT_STORE_URL": objects.url, "LEPTON_WORKERS": "1"}
    job = job_manifest(
        template, Launch(job=KEY, attempt=1, module="some.worker", environment=given), label=LABEL
    )
    container = job["spec"]["template"]["spec"]["containers"][0]
    variables = {entry["name"]: entry.get("value", "a-pod") for entry in container["env"]}
    # Kubernetes adds this one to the pods of an Indexed Job.
    worker = Worker({**variables, "JOB_COMPLETION_INDEX": "0"})
    assert (worker.job, worker.attempt, worker.index, worker.workers) == (KEY, 1, 0, 1)
    assert worker.spec == {"epochs": 3}
    assert worker.directory.is_dir()
    assert worker.run(lambda worker: {"done": True}) == 0
    assert files.read_outcome(objects, KEY, 1) == files.Outcome(output={"done": True})
    worker.directory.rmdir()
