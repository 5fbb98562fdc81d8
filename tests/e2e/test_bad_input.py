"""Bad input of every kind gets a clear error with the right code, and the services go on.

One cloud for the whole module, into which a few good things are put first. After every case its processes
must be those that they were, and serve.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2
from lepton.training.v1 import training_pb2
from lepton_common.errors import (
    ChecksumMismatch,
    Code,
    InvalidField,
    InvalidModel,
    LeptonError,
    NotFound,
    TensorMismatch,
    TooLarge,
    Unimplemented,
    WrongOffset,
    WrongState,
)
from lepton_common.status import from_status, named_errors
from lepton_sdk.client import Client
from lepton_sdk.local import MODULES, running

from .bad_files import BAD_MEMBERS, BAD_ROWS, FILES
from .bad_models import MODELS
from .bad_requests import AGENTS, COMPRESSION, DATASETS, INFERENCE, PAGES, REGISTRY, TRAINING
from .refusing_cloud import CONTRACTS, RefusingCloud, fill, path_of, process_ids

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

REQUESTS = {
    f"{service}: {case}": refusal
    for service, refusals in (
        ("data-ingest", DATASETS),
        ("trainer", TRAINING),
        ("compressor", COMPRESSION),
        ("registry", REGISTRY),
        ("inference", INFERENCE),
        ("rl-agent", AGENTS),
        ("a page token", PAGES),
    )
    for case, refusal in refusals.items()
}
LARGEST_MESSAGE_BYTES = 64 << 20
FIRST_METHODS = {
    service: path_of(next(iter(contract.services_by_name.values())).methods[0])
    for service, contract in CONTRACTS.items()
}
"""Path of a unary method of every service."""

every_service = pytest.mark.parametrize("service", MODULES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lepton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RefusingCloud]:
    """Services that know the datasets, models and agents which the tables speak of."""
    folder = tmp_path_factory.mktemp("bad-input")
    async with running(folder / "cloud", first_port=0) as cloud, Client(cloud.addresses) as client:
        unlimited = [("grpc.max_send_message_length", -1)]
        channels = {
            service: grpc.aio.insecure_channel(getattr(cloud.addresses, service), unlimited)
            for service in MODULES
        }
        lepton = RefusingCloud(
            cloud=cloud, client=client, channels=channels, processes=process_ids(cloud), bad_versions={}
        )
        await fill(lepton, folder)
        yield lepton
        for channel in channels.values():
            await channel.close()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def the_services_go_on(lepton: RefusingCloud) -> AsyncIterator[None]:
    yield
    await lepton.check_serving()


async def write(lepton: RefusingCloud, *pieces: dataset_pb2.WriteUploadRequest) -> dataset_pb2.Upload:
    async def messages() -> AsyncIterator[dataset_pb2.WriteUploadRequest]:
        for piece in pieces:
            yield piece

    stub = dataset_pb2_grpc.DatasetServiceStub(lepton.channels["data_ingest"])
    with named_errors():
        return (await stub.WriteUpload(messages())).upload


async def send(lepton: RefusingCloud, service: str, path: str, data: bytes) -> bytes:
    """Answer of a method to bytes that no stub would send."""
    return await lepton.channels[service].unary_unary(path)(data, timeout=60)


@pytest.mark.parametrize("case", REQUESTS)
async def test_a_bad_request_is_refused(lepton: RefusingCloud, case: str) -> None:
    request, error, says = REQUESTS[case]
    with pytest.raises(LeptonError) as refused:
        await lepton.ask(request)
    lepton.check_told(refused.value, error, says)
