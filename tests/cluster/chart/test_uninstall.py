"""The last test of the release: nothing is left of it."""

import pytest

from .release import KINDS, Pod, Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_nothing_is_left_of_what_was_uninstalled(release: Release, client: Pod) -> None:
    client.namespace.kubectl("delete", "pod", client.name, "--now")
    release.run("uninstall", "lepton", "--wait")
    gone = ("--for=delete", "--timeout=120s")
    release.kubectl("wait", "jobs,pods", "--selector", "app.kubernetes.io/part-of=lepton", *gone)
    assert not release.objects(KINDS, "--selector", "app.kubernetes.io/instance=lepton")
