"""Upgrades that fail, rollbacks, a first try with one volume, and what is left in the end."""

import pytest

from ..cluster import Namespace, run
from .conftest import placed
from .release import CHART, ENDPOINT, KINDS, Pod, Release, sleeper, start

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def test_a_failed_upgrade_leaves_the_old_release_serving(
    release: Release, client: Pod, endpoint: str
) -> None:
    before = sorted(pod["metadata"]["uid"] for pod in release.services(ready=True))
    with client.load(endpoint) as load:
        with pytest.raises(AssertionError):
            release.run(
                *("upgrade", "lepton", str(CHART), "--reuse-values", "--set", "global.image.tag=missing"),
                *("--wait", "--timeout", "25s"),
            )
        assert sorted(pod["metadata"]["uid"] for pod in release.services(ready=True)) == before
        release.rollback()
    load.assert_unharmed()


def test_a_first_try_with_one_volume(helm3: str) -> None:
    name = "lepton-test-embedded"
    run("kubectl", "delete", "namespace", name, "--ignore-not-found", "--wait")
    run("kubectl", "create", "namespace", name)
    run("kubectl", "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    everything = ("registry", "data-ingest", "trainer", "compressor", "rl-agent", "inference.pool")
    embedded = Release(
        name,
        helm3,
        (CHART / "values-embedded.yaml",),
        settings=("--set", "global.image.tag=dev", *placed(*everything)),
    )
    before = held(embedded)
    embedded.install()
    embedded.story()
    # What was made outlives every pod, in upgrades and on the way back.
    embedded.upgrade("--set", "global.server.logLevel=DEBUG")
    embedded.rollback()
    pod = start(embedded, sleeper(embedded.test_pod(), "client", {"lepton.dev/client": "true"}))
    assert [each["name"] for each in pod.lepton("endpoint", "list")] == [f"endpoints/{ENDPOINT}"]
    embedded.kubectl("delete", "pod", "client", "--now")
    embedded.run("uninstall", "lepton", "--wait")
    embedded.kubectl("wait", "pods", "--all", "--for=delete", "--timeout=120s")
    # The volume stays, unless the values say otherwise.
    assert held(embedded) - before == {"persistentvolumeclaim/lepton-data"}
    run("kubectl", "delete", "namespace", name, "--wait=false")


def held(namespace: Namespace) -> set[str]:
    """What is in a namespace, but for what every namespace has, as `kind/name`."""
    return {
        f"{each['kind'].lower()}/{each['metadata']['name']}"
        for each in namespace.objects(KINDS)
        if each["metadata"]["name"] not in ("default", "kube-root-ca.crt")
    }
