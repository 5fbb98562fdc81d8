"""The chart as helm renders it, and how to find one's way in manifests."""

import functools
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Document: TypeAlias = dict[str, Any]

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/lepton"
HELM3 = ROOT / "build/tools/helm3"
PROFILES = {
    "embedded": CHART / "values-embedded.yaml",
    "trial": CHART / "values-trial.yaml",
    "everything": Path(__file__).parent / "profiles/everything.yaml",
}


@dataclass(frozen=True)
class Helm:
    """A helm program."""

    program: Path

    def attempt(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it."""
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, check=False)

    def render(self, profile: str, *settings: str) -> list[Document]:
        """The manifests of the release `lepton` in the namespace `lepton`, with settings such as `a.b=c`."""
        return [*_render(self, profile, settings)]


@functools.cache
def _render(helm: Helm, profile: str, settings: tuple[str, ...]) -> tuple[Document, ...]:
    done = helm.attempt(
        "template",
        "lepton",
        CHART,
        "--namespace=lepton",
        f"--values={PROFILES[profile]}",
        *(f"--set={setting}" for setting in settings),
    )
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document)


def beside_the_chart() -> list[Document]:
    """All manifests in k8s/."""
    paths = sorted(path for path in (ROOT / "k8s").rglob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in paths for document in yaml.load_all(path.read_text(), yaml.CSafeLoader)]


def of_kind(documents: Sequence[Document], kind: str) -> dict[str, Document]:
    """The documents of a kind by their names."""
    return {each["metadata"]["name"]: each for each in documents if each["kind"] == kind}


def pods(documents: Sequence[Document]) -> dict[str, Document]:
    """Every pod that follows from documents, by the kind and the name of what it follows from."""
    return {
        f"{document['kind']}/{document['metadata']['name']}": pod
        for document in documents
        for pod in _pods(document)
    }


def _pods(document: Document) -> Iterator[Document]:
    match document["kind"]:
        case "Pod":
            yield document
        case "Deployment" | "Job":
            yield document["spec"]["template"]
        case "CronJob":
            yield document["spec"]["jobTemplate"]["spec"]["template"]
        case "ConfigMap" if "job.yaml" in document["data"]:
            # What Jobs are made from.
            yield yaml.load(document["data"]["job.yaml"], yaml.CSafeLoader)["spec"]["template"]


def environment(pod: Document) -> dict[str, str]:
    """The variables of a pod's container that have values in place."""
    (container,) = pod["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}
