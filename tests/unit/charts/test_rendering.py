"""The chart renders with every helm, and refuses values that it does not know."""

import subprocess
import sys

import pytest

from .manifests import CHART, PROFILES, ROOT, Document, Helm, of_kind


def test_lint_has_nothing_to_say(helm: Helm, profile: str) -> None:
    done = helm.attempt("lint", "--strict", CHART, f"--values={PROFILES[profile]}")
    assert done.returncode == 0, done.stdout


def test_every_helm_renders_the_same(helm: Helm, helm3: Helm, profile: str) -> None:
    def names(documents: list[Document]) -> list[tuple[str, str]]:
        return sorted((document["kind"], document["metadata"]["name"]) for document in documents)

    assert names(helm.render(profile)) == names(helm3.render(profile))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([], "global.database.existingSecret is missing"),
        (["global.database.existingSecret=urls"], "global.objectStore.url is missing"),
        (["global.embedded.enabled=true"], "replicas must be 1"),
        (
            [
                "global.database.existingSecret=urls",
                "global.objectStore.url=s3://bucket",
                "global.auth.userTokenSecret=mine",
            ],
            "together or not at all",
        ),
    ],
    ids=["database", "object store", "replicas of SQLite", "credentials"],
)
def test_what_is_missing_is_told(helm: Helm, settings: list[str], told: str) -> None:
    done = helm.attempt("template", "lepton", CHART, *(f"--set={setting}" for setting in settings))
    assert done.returncode != 0
    assert told in done.stderr


@pytest.mark.parametrize(
    "setting",
    [
        "surprise=1",
        "global.surprise=1",
        "global.tls.surprise=1",
        "global.tls.mode=sometimes",
        "global.networkPolicy.database.ports={0}",
        "registry.surprise=1",
        "registry.replicas=-1",
        "registry.resources.surprise.cpu=1",
        "data-ingest.worker.gpu.count=1",
        "trainer.worker.gpu.surprise=1",
        "compressor.maxRunningJobs=-1",
        "inference.pools.default.surprise=1",
        "inference.pools.Default.replicas=1",
        "inference.pools.headless.replicas=1",
        "inference.pools.default.device=tpu",
    ],
)
def test_values_that_nobody_knows_are_refused(helm: Helm, setting: str) -> None:
    values = f"--values={PROFILES['embedded']}"
    done = helm.attempt("template", "lepton", CHART, values, f"--set={setting}")
    assert done.returncode != 0
    assert "specifications of the schema" in done.stderr


def test_a_part_can_be_left_out(helm: Helm) -> None:
    for document in helm.render("embedded", "rl-agent.enabled=false"):
        assert "rl-agent" not in document["metadata"]["name"]


def test_a_pool_can_be_left_out_and_another_put_in_its_place(helm: Helm) -> None:
    settings = ["inference.pools.default=null", "inference.pools.small.threads=2"]
    deployments = of_kind(helm.render("embedded", *settings), "Deployment")
    assert {name for name in deployments if "inference" in name} == {"lepton-inference-small"}


def test_schemas_and_reference_follow_the_values() -> None:
    command = [sys.executable, str(ROOT / "charts/values.py"), "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
