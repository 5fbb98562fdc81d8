"""Bad input of every kind gets a clear error with the right code, and the services go on.

One cloud for the whole module, into which a few good things are put first. After every case its processes
must be those that they were, and serve.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.endpoint.v1 import endpoint_pb2
from lepton.job.v1 import job_pb2
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
from .bad_models import MODELS, WIDE
from .bad_requests import REQUESTS
from .refusing_cloud import CONTRACTS, RefusingCloud, fill, path_of, process_ids

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

LARGEST_MESSAGE_BYTES = 64 << 20
TOO_LONG = f"larger than max .*{LARGEST_MESSAGE_BYTES}"
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


@pytest.mark.parametrize("case", REQUESTS)
async def test_a_bad_request_is_refused(lepton: RefusingCloud, case: str) -> None:
    refusal = REQUESTS[case]
    with pytest.raises(LeptonError) as refused:
        await lepton.ask(refusal.request)
    lepton.check_told(refused.value, refusal.error, refusal.says)


def piece(
    upload: str, data: bytes, *, offset: int = 0, finish: bool = True
) -> dataset_pb2.WriteUploadRequest:
    return dataset_pb2.WriteUploadRequest(name=upload, offset=offset, data=data, finish=finish)


async def test_a_file_with_another_checksum_is_refused_and_starts_again(lepton: RefusingCloud) -> None:
    upload = await lepton.announce("datasets/flowers", b"announced")
    with pytest.raises(LeptonError) as refused:
        await write(lepton, piece(upload, b"something"))
    lepton.check_told(refused.value, ChecksumMismatch, ("announced SHA-256", "starts again at byte 0"))
    assert (await write(lepton, piece(upload, b"announced"))).complete


async def test_a_file_that_ends_early_is_refused_and_can_be_gone_on_with(lepton: RefusingCloud) -> None:
    upload = await lepton.announce("datasets/flowers", b"truncated")
    with pytest.raises(LeptonError) as refused:
        await write(lepton, piece(upload, b"trunc"))
    lepton.check_told(refused.value, ChecksumMismatch, ("ends after 5 of the 9 announced bytes",))
    assert (await write(lepton, piece(upload, b"truncated"))).complete


BAD_PIECES = {
    "more bytes than were announced": ([(0, b"0123456789")], TooLarge, ("the 9 that were announced",)),
    "a place that is not the next": ([(5, b"5678")], WrongOffset, ("starts at byte 5", "go on at byte 0")),
    "a gap": ([(0, b"0123"), (6, b"678")], WrongOffset, ("starts at byte 6", "go on at byte 4")),
    "a place before the first": ([(-1, b"0")], InvalidField, ("offset", "0")),
    "a piece of 3 MiB": ([(0, bytes(3 << 20))], InvalidField, ("data", "2097152")),
    "nothing": ([], InvalidField, ("the stream was empty",)),
}


@pytest.mark.parametrize("case", BAD_PIECES)
async def test_a_bad_piece_of_a_file_is_refused(lepton: RefusingCloud, case: str) -> None:
    pieces, error, says = BAD_PIECES[case]
    upload = await lepton.announce("datasets/flowers", f"{case:.9}".encode())
    with pytest.raises(LeptonError) as refused:
        await write(lepton, *(piece(upload, data, offset=offset, finish=False) for offset, data in pieces))
    lepton.check_told(refused.value, error, says)


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        pytest.param("", InvalidField, "must name its upload", id="no name"),
        pytest.param("datasets/flowers/uploads/99", NotFound, "datasets/flowers/uploads/99", id="unknown"),
        pytest.param("../../etc/passwd", NotFound, "../../etc/passwd", id="a path"),
    ],
)
async def test_bytes_for_no_upload_are_refused(
    lepton: RefusingCloud, name: str, error: type[LeptonError], says: str
) -> None:
    with pytest.raises(LeptonError) as refused:
        await write(lepton, piece(name, b"data"))
    lepton.check_told(refused.value, error, (says,))


async def test_a_stream_for_two_uploads_is_refused(lepton: RefusingCloud) -> None:
    one, other = [await lepton.announce("datasets/flowers", data) for data in (b"one file", b"other file")]
    with pytest.raises(LeptonError) as refused:
        await write(lepton, piece(one, b"one ", finish=False), piece(other, b"file", offset=4))
    lepton.check_told(refused.value, InvalidField, ("the upload that the first one names",))


async def test_an_empty_file_is_refused_before_anything_is_sent(
    lepton: RefusingCloud, tmp_path: Path
) -> None:
    path = tmp_path / "empty.csv"
    path.touch()
    with pytest.raises(InvalidField, match=r"empty\.csv is empty"):
        await lepton.client.datasets.upload("datasets/flowers", path)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        pytest.param({"x": np.zeros((1, 2), np.int32)}, "got INT32 of shape [1, 2]", id="dtype"),
        pytest.param({"x": np.zeros((2, 3), np.float32)}, "got FP32 of shape [2, 3]", id="shape"),
        pytest.param({"z": np.zeros((1, 2), np.float32)}, "inputs must be 'x', got 'z'", id="name"),
        pytest.param({"x": np.array([["1", "2"]])}, "got BYTES of shape [1, 2]", id="text"),
    ],
)
async def test_a_prediction_from_other_tensors_is_refused(
    lepton: RefusingCloud, inputs: dict[str, np.ndarray], says: str
) -> None:
    with pytest.raises(LeptonError) as refused:
        await lepton.client.inference.predict("double", inputs)
    lepton.check_told(refused.value, TensorMismatch, (says,))


async def test_numbers_of_a_kind_the_protocol_does_not_know_are_not_sent(lepton: RefusingCloud) -> None:
    with pytest.raises(InvalidField, match="input 'x' is of dtype complex128"):
        await lepton.client.inference.predict("double", {"x": np.zeros((1, 2), complex)})


async def test_nan_goes_through_a_model_as_it_is(lepton: RefusingCloud) -> None:
    prediction = await lepton.client.inference.predict("double", {"x": np.array([[np.nan, 2]], np.float32)})
    np.testing.assert_array_equal(prediction.outputs["y"], np.array([[np.nan, 4]], np.float32))


@pytest.mark.parametrize("name", MODELS)
async def test_a_bad_model_is_not_served_and_its_endpoint_says_why(lepton: RefusingCloud, name: str) -> None:
    with pytest.raises(InvalidModel) as refused:
        await lepton.client.endpoints.wait_ready(f"endpoints/{name}")
    lepton.check_told(refused.value, InvalidModel, (f"models/{name}/versions/1", *MODELS[name].says))


async def test_a_batch_larger_than_memory_is_no_reason_not_to_serve(lepton: RefusingCloud) -> None:
    version = await lepton.publish("wide", WIDE)
    await lepton.client.endpoints.create(
        "wide", {version: 1}, batching=endpoint_pb2.Batching(max_batch_size=65536)
    )
    await lepton.client.endpoints.wait_ready("endpoints/wide")


def version_of(upload: str) -> dataset_pb2.DatasetVersionSpec:
    return dataset_pb2.DatasetVersionSpec(sources=[dataset_pb2.Source(upload=upload)])


@pytest.mark.parametrize("version", ["failed", "queued"])
async def test_training_on_a_version_that_is_not_built_is_refused(
    lepton: RefusingCloud, version: str
) -> None:
    said = {"failed": "could not be built", "queued": "is still being built: wait until it has SUCCEEDED"}
    name = lepton.bad_versions["text in a number column"]
    if version == "failed":
        await lepton.built(name)
    else:
        name = (
            await lepton.client.datasets.create_version(
                "datasets/flowers", version_of("datasets/flowers/uploads/1")
            )
        ).name
    spec = training_pb2.TrainingSpec(dataset_version=name, model="models/net", mlp=training_pb2.Mlp())
    with pytest.raises(LeptonError) as refused:
        await lepton.client.training.create("early", spec)
    lepton.check_told(refused.value, WrongState, (name, said[version]))


@every_service
async def test_bytes_that_are_no_message_are_refused(lepton: RefusingCloud, service: str) -> None:
    path = FIRST_METHODS[service]
    with pytest.raises(LeptonError) as refused:
        await lepton.send(service, path, b"\xff" * 100)
    lepton.check_told(refused.value, InvalidField, (f"no message that {path.rpartition('/')[2]} takes",))


@every_service
@pytest.mark.parametrize("path", ["Nonsense", "../../etc/passwd", "nowhere.Service/Get"])
async def test_a_method_that_does_not_exist_is_refused(
    lepton: RefusingCloud, service: str, path: str
) -> None:
    own = FIRST_METHODS[service].rpartition("/")[0]
    with pytest.raises(LeptonError) as refused:
        await lepton.send(service, f"/{path}" if "." in path else f"{own}/{path}", b"")
    lepton.check_told(refused.value, Unimplemented, ("no such method",))


@every_service
async def test_a_message_over_the_limit_is_refused(lepton: RefusingCloud, service: str) -> None:
    with pytest.raises(LeptonError, match=TOO_LONG) as refused:
        await lepton.send(service, FIRST_METHODS[service], bytes(LARGEST_MESSAGE_BYTES + 1))
    assert refused.value.code is Code.RESOURCE_EXHAUSTED


async def test_a_message_that_unpacks_to_more_than_the_limit_is_refused(lepton: RefusingCloud) -> None:
    with pytest.raises(LeptonError, match=TOO_LONG) as refused:
        await lepton.send(
            "inference",
            FIRST_METHODS["inference"],
            bytes(LARGEST_MESSAGE_BYTES + 1),
            compression=grpc.Compression.Gzip,
        )
    assert refused.value.code is Code.RESOURCE_EXHAUSTED


@every_service
@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(1000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99],
)
async def test_noise_on_the_port_hurts_nobody(lepton: RefusingCloud, service: str, noise: bytes) -> None:
    host, _, port = getattr(lepton.cloud.addresses, service).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(noise)
    await asyncio.wait_for(reader.read(), 30)
    writer.close()


@pytest.mark.parametrize("case", BAD_ROWS)
async def test_a_bad_row_is_left_out_and_told(lepton: RefusingCloud, case: str) -> None:
    _, column, says = BAD_ROWS[case]
    version = await lepton.built("datasets/flowers/versions/1")
    assert version.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert version.rejected == len(BAD_ROWS)
    rejection = version.rejections[list(BAD_ROWS).index(case)]
    assert (rejection.record, rejection.column) == (100 + list(BAD_ROWS).index(case), column)
    assert says in rejection.message
    lepton.check_discreet(rejection.message)


@pytest.mark.parametrize("case", BAD_MEMBERS)
async def test_a_bad_image_is_left_out_and_told(lepton: RefusingCloud, case: str) -> None:
    _, _, says = BAD_MEMBERS[case]
    version = await lepton.built("datasets/pictures/versions/1")
    assert version.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert version.rejected == len(BAD_MEMBERS)
    rejection = version.rejections[list(BAD_MEMBERS).index(case)]
    assert rejection.record == 40 + list(BAD_MEMBERS).index(case)
    assert says in rejection.message
    lepton.check_discreet(rejection.message)


@pytest.mark.parametrize("case", FILES)
async def test_a_bad_file_fails_its_version(lepton: RefusingCloud, case: str) -> None:
    version = await lepton.built(lepton.bad_versions[case])
    assert version.status.state == job_pb2.JOB_STATE_FAILED
    lepton.check_told(from_status(version.status.error), FILES[case].error, FILES[case].says)


async def test_no_service_has_logged_a_fault_of_its_own(lepton: RefusingCloud) -> None:
    for log in (lepton.cloud.directory / "logs").iterdir():
        for line in log.read_text().splitlines():
            record = json.loads(line)
            # Lost data is worth an alarm even where the caller lost it on the way.
            assert record["level"] != "ERROR" or record.get("code") == "DATA_LOSS", line
