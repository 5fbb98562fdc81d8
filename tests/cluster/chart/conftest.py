"""The chart, installed once, with PostgreSQL, S3 and nodes with GPUs: the tests of this folder share it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..cluster import run
from .release import CHART, ENDPOINT, ROOT, Pod, Release, sleeper, start

HERE = Path(__file__).parent


def placed(*parts: str) -> tuple[str, ...]:
    """Settings that place some parts on the node that LEPTON_TEST_WORKER_NODE names, where only one has the
    images of all workers."""
    node = os.environ.get("LEPTON_TEST_WORKER_NODE", "")
    selector = r"nodeSelector.kubernetes\.io/hostname"
    return tuple(argument for part in parts if node for argument in ("--set", f"{part}.{selector}={node}"))


@pytest.fixture(scope="session")
def helm4() -> str:
    """The helm that is on the path."""
    return os.environ.get("HELM", "helm")


@pytest.fixture(scope="session")
def helm3() -> str:
    """Helm 3."""
    return str(ROOT / "build" / "tools" / "helm3")


@pytest.fixture(scope="session")
def release(helm4: str) -> Iterator[Release]:
    """The chart with two pods of every service, PostgreSQL, S3, and workers and a pool on GPU nodes."""
    release = Release(
        "lepton-test-chart",
        helm4,
        (CHART / "values-trial.yaml", HERE / "values.yaml"),
        settings=placed("compressor.worker", "rl-agent.worker"),
    )
    keep = bool(os.environ.get("LEPTON_TEST_KEEP"))
    if keep and f"namespace/{release.name}\n" in run("kubectl", "get", "namespaces", "--output", "name"):
        release.upgrade()
    else:
        run("kubectl", "delete", "namespace", release.name, "--ignore-not-found", "--wait")
        run("kubectl", "apply", "--kustomize", str(HERE.parent / "trial"))
        for server in ("trial-postgres", "trial-s3"):
            release.kubectl("rollout", "status", f"deployment/{server}", "--timeout=180s")
        release.install()
    yield release
    if not keep:
        run("kubectl", "delete", "namespace", release.name, "--wait=false")


@pytest.fixture(scope="session")
def client(release: Release) -> Pod:
    """A client of the release, in a pod with its token and certificate."""
    return start(release, sleeper(release.test_pod(), "client", {"lepton.dev/client": "true"}))


@pytest.fixture(scope="session")
def endpoint(release: Release) -> str:
    """The id of the endpoint that the story has made."""
    if not os.environ.get("LEPTON_TEST_KEEP") or not release.jobs():
        release.story()
    return ENDPOINT


@pytest.fixture(scope="session")
def trial_node(release: Release) -> str:
    """The node that the tests leave alone: that of PostgreSQL, S3 and the client."""
    nodes = {
        pod["spec"]["nodeName"] for pod in release.objects("pods", "--selector", "lepton.dev/trial=server")
    }
    assert len(nodes) == 1
    node: str = nodes.pop()
    return node


@pytest.fixture(scope="session")
def other_node(release: Release, trial_node: str) -> str:
    """A node with pods of services that is not the trial's."""
    release.settle()
    nodes = {
        pod["spec"]["nodeName"]
        for pod in release.services()
        if "nvidia.com/gpu" not in pod["spec"]["containers"][0]["resources"].get("limits", {})
    }
    found = sorted(nodes - {trial_node})
    if not found:
        pytest.skip("all services are on the trial's node, which cannot be taken away")
    node: str = found[0]
    return node
