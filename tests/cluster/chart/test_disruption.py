"""What happens to a cluster every day, under load: no call fails, and none is answered wrongly."""

import asyncio

import pytest

from ..cluster import Faults, eventually, run
from .release import Pod, Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]


async def test_a_rolling_upgrade(release: Release, client: Pod, endpoint: str) -> None:
    before = {pod["metadata"]["uid"] for pod in release.services()}
    with client.load(endpoint) as load:
        # Every part has a new template by this.
        release.upgrade("--set", "global.server.preStopSeconds=6")
    load.assert_unharmed()
    assert not before & {pod["metadata"]["uid"] for pod in release.services()}


async def test_a_drained_node(release: Release, client: Pod, endpoint: str, other_node: str) -> None:
    with client.load(endpoint) as load:
        try:
            how = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s")
            run("kubectl", "drain", other_node, *how)
            release.settle()
        finally:
            run("kubectl", "uncordon", other_node)
    load.assert_unharmed()
    assert other_node not in {pod["spec"]["nodeName"] for pod in release.services()}
    # Spread again, for the tests that follow.
    release.kubectl("rollout", "restart", "deployment", "--selector", "app.kubernetes.io/instance=lepton")
    release.settle()


async def test_a_lost_node(
    release: Release, client: Pod, endpoint: str, other_node: str, faults: Faults
) -> None:
    with client.load(endpoint) as load:
        assert other_node in nodes_of(release, "inference")
        faults("kill", other_node)
        try:
            # Until its pods have been replaced elsewhere.
            await eventually(lambda: other_node not in nodes_of(release, "inference"), seconds=120)
            await asyncio.sleep(5)
        finally:
            faults("start", other_node)
    load.assert_unharmed()
    run("kubectl", "wait", f"node/{other_node}", "--for=condition=Ready", "--timeout=120s")
    release.settle()


async def test_a_node_that_answers_nothing(
    release: Release, client: Pod, endpoint: str, other_node: str, faults: Faults
) -> None:
    with client.load(endpoint) as load:
        assert other_node in nodes_of(release, "inference")
        # Nobody hears of it: what is sent there is lost, and so is every answer.
        faults("cut", other_node)
        try:
            await asyncio.sleep(15)
        finally:
            faults("mend", other_node)
    load.assert_unharmed()
    run("kubectl", "wait", f"node/{other_node}", "--for=condition=Ready", "--timeout=120s")
    release.settle()


def nodes_of(release: Release, component: str) -> set[str]:
    """The nodes of a service's ready pods."""
    return {pod["spec"]["nodeName"] for pod in release.services(component, ready=True)}
