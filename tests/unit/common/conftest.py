"""The stores of the common library, each over both of its backends."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An empty object store: a folder, then a bucket of an S3-compatible server."""
    if request.param == "folder":
        return ObjectStore(f"file://{tmp_path}/objects")
    import boto3

    endpoint = request.getfixturevalue("s3_endpoint")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    bucket = f"lepton-{uuid.uuid4().hex}"
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket=bucket)
    client.close()
    return ObjectStore(f"s3://{bucket}/some/prefix?endpoint={endpoint}&region=us-east-1")


@pytest.fixture
async def records(database_url: str) -> AsyncIterator[ResourceStore]:
    """An empty resource store: SQLite, then PostgreSQL."""
    store = await ResourceStore.open(database_url)
    yield store
    await store.close()
