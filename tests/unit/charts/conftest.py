"""The chart, rendered by every helm there is: helm 3 that `make test` unpacks, and `helm` where it is one."""

import shutil
from pathlib import Path

import pytest

from .manifests import HELM3, PROFILES, Document, Helm

HELMS = [HELM3, *([Path(found)] if (found := shutil.which("helm")) else [])]


@pytest.fixture(scope="session", params=HELMS, ids=lambda path: path.name)
def helm(request: pytest.FixtureRequest) -> Helm:
    """Each helm in turn."""
    return Helm(request.param)


@pytest.fixture(scope="session")
def helm3() -> Helm:
    """The helm that is always there."""
    return Helm(HELM3)


@pytest.fixture(scope="session", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    """The name of each profile in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def manifests(helm3: Helm, profile: str) -> list[Document]:
    """What each profile renders."""
    return helm3.render(profile)
