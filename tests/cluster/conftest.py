"""What all tests on a cluster have."""

import os

import pytest

from .cluster import Faults


@pytest.fixture(scope="session")
def faults() -> Faults:
    """Faults of nodes, where the tool that runs the cluster can cause them."""
    tool = os.environ.get("LEPTON_TEST_CLUSTER", "")
    if not tool:
        pytest.skip("LEPTON_TEST_CLUSTER does not name a tool that can break nodes")
    return Faults(tool)
