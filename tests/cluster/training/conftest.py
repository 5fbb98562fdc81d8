"""Lepton's services in a namespace of a real cluster, which has their images: see `make test-images`."""

import os
from collections.abc import Iterator
from contextlib import aclosing

import numpy as np
import pytest
import pytest_asyncio
from sklearn.datasets import load_digits

from lepton.dataset.v1 import dataset_pb2
from lepton.job.v1 import job_pb2
from lepton_sdk.client import Client

from .harness import MANIFESTS, NAMESPACE, READY_SECONDS, Lepton, kubectl


@pytest.fixture(scope="session")
def installed() -> Iterator[None]:
    """The services, ready."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait")
    kubectl("apply", "--filename", str(MANIFESTS))
    for name in ("s3", "registry", "data-ingest", "trainer"):
        kubectl("rollout", "status", f"deployment/{name}", f"--timeout={READY_SECONDS}s")
    yield
    if not os.environ.get("LEPTON_TEST_KEEP"):
        kubectl("delete", "--filename", str(MANIFESTS), "--wait=false")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lepton(
    installed: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Lepton:
    """The services, with the digits as a dataset version."""
    found = load_digits()
    images = np.minimum(found.images * 16, 255).astype(np.uint8)[..., np.newaxis]
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez_compressed(path, image=images, label=found.target.astype(np.int64))
    lepton = Lepton()
    request.addfinalizer(lepton.close)

    async def push(client: Client) -> None:
        await client.datasets.create("digits", request_id="digits")
        upload = await client.datasets.upload("datasets/digits", path)
        schema = dataset_pb2.Schema(label="label")
        spec = dataset_pb2.DatasetVersionSpec(sources=[dataset_pb2.Source(upload=upload.name)], schema=schema)
        await client.datasets.create_version("datasets/digits", spec, request_id="digits")
        async with aclosing(client.datasets.watch_version("datasets/digits/versions/1")) as watched:
            async for version in watched:
                state = version.status.state
        assert state == job_pb2.JOB_STATE_SUCCEEDED

    await lepton.call(push)
    return lepton
