"""What the chart renders and what lies in k8s/ fits the schemas of every version of Kubernetes we support."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from lepton_common.jobs.kubernetes.manifest import job_manifest, read_template
from lepton_common.jobs.launcher import Launch

from .manifests import ROOT, Document, Helm, beside_the_chart, of_kind

VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
FOREIGN = {
    "cert-manager.io/v1",
    "keda.sh/v1alpha1",
    "kueue.x-k8s.io/v1beta1",
    "monitoring.coreos.com/v1",
}
"""What operators bring along."""


def validate(document: Document, version: str) -> None:
    if document["apiVersion"] not in FOREIGN:
        kubernetes_validate.validate(document, version, strict=True)


# The first has whatever there is; the others are for the oldest and the newest version.
@pytest.mark.parametrize(
    ("profile", "version"),
    [
        *(("everything", version) for version in VERSIONS),
        *((profile, version) for profile in ("embedded", "trial") for version in (VERSIONS[0], VERSIONS[-1])),
    ],
)
def test_the_chart_is_valid(helm3: Helm, profile: str, version: str) -> None:
    # With 1.31 claims by a template took the form that they have today.
    settings = ["inference.pools.dra=null"] if (version, profile) == ("1.30", "everything") else []
    for document in helm3.render(profile, *settings):
        validate(document, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_stands_beside_the_chart_is_valid(version: str) -> None:
    for document in beside_the_chart():
        validate(document, version)


def test_jobs_can_be_made_from_their_templates(
    manifests: list[Document], tmp_path: Path, profile: str
) -> None:
    templates = {
        name: each["data"]["job.yaml"]
        for name, each in of_kind(manifests, "ConfigMap").items()
        if "job.yaml" in each["data"]
    }
    assert len(templates) == 4
    key = "trainingJobs/digits/8d3f0c2e"
    launch = Launch(
        job=key, attempt=1, module="lepton_trainer.worker", environment={"LEPTON_JOB": key}, workers=2
    )
    for name, text in templates.items():
        path = tmp_path / name
        path.write_text(text)
        job = job_manifest(read_template(path), launch, label="lepton.dev/training-job")
        for version in (VERSIONS[0], VERSIONS[-1]):
            validate(job, version)
        (worker,) = job["spec"]["template"]["spec"]["containers"]
        mounts = {mount["mountPath"] for mount in worker["volumeMounts"]}
        assert mounts == ({"/tmp", "/data"} if profile == "embedded" else {"/tmp"})


def test_nothing_beside_the_chart_is_a_copy_of_it(manifests: list[Document]) -> None:
    def names(documents: list[Document]) -> set[tuple[str, str]]:
        return {(each["kind"], each["metadata"]["name"]) for each in documents}

    assert not names(manifests) & names(beside_the_chart())


def test_a_kustomization_takes_all_that_lies_beside_it() -> None:
    found = [*(ROOT / "k8s").rglob("kustomization.yaml")]
    assert len(found) >= 4
    for path in found:
        beside = {each.name for each in path.parent.glob("*.yaml")} - {path.name}
        assert set(yaml.safe_load(path.read_text())["resources"]) == beside, path
