"""A whole Lepton for the tests of this folder: every service a real process."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lepton_sdk.client import Client
from lepton_sdk.local import LocalCloud, running


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[LocalCloud]:
    """Services on ports of their own."""
    async with running(tmp_path / "cloud", first_port=0) as started:
        yield started


@pytest.fixture
async def client(cloud: LocalCloud) -> AsyncIterator[Client]:
    """A client of `cloud`."""
    async with Client(cloud.addresses) as connected:
        yield connected


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handwritten digits as an NPZ file: `image` uint8 [n, 8, 8, 1] and `label` int64 [n]."""
    found = load_digits()
    images = np.minimum(found.images * 16, 255).astype(np.uint8)[..., np.newaxis]
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez_compressed(path, image=images, label=found.target.astype(np.int64))
    return path
