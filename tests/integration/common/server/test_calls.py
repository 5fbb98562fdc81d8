"""What a caller is told of its call, in each of the forms a call can have."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import pytest

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common import errors
from lepton_common.errors import FieldViolation, LeptonError
from lepton_common.request_id import KEY
from lepton_common.rpc import from_rpc_error, named_errors, streaming

GET = pb.GetDatasetRequest(name="datasets/digits")
WATCH = pb.WatchDatasetVersionRequest(name="datasets/digits/versions/1")


def raising(error: BaseException) -> Callable[[], Awaitable[NoReturn]]:
    async def behaviour() -> NoReturn:
        raise error

    return behaviour


async def forever() -> None:
    await asyncio.Event().wait()


async def pieces(*requests: pb.WriteUploadRequest) -> AsyncIterator[pb.WriteUploadRequest]:
    for request in requests:
        yield request


async def get(stub: Any) -> object:
    return await stub.GetDataset(GET)


async def write(stub: Any) -> object:
    return await stub.WriteUpload(pieces(pb.WriteUploadRequest(name=GET.name, data=b"abc")))


async def watch(stub: Any) -> object:
    return [response async for response in stub.WatchDatasetVersion(WATCH)]


FORMS = pytest.mark.parametrize("call", [get, write, watch], ids=["unary", "client stream", "server stream"])


def last_call(caplog: pytest.LogCaptureFixture) -> Any:
    (record,) = [record for record in caplog.records if record.name == "lepton.calls"]
    return record


async def test_a_unary_call_is_answered(stub: Any) -> None:
    response = await stub.GetDataset(GET)

    assert response.dataset.name == "datasets/digits"


async def test_a_stream_of_requests_is_answered(stub: Any) -> None:
    response = await stub.WriteUpload(
        pieces(pb.WriteUploadRequest(data=b"abc"), pb.WriteUploadRequest(data=b"de", offset=3))
    )

    assert response.upload.committed_size == 5


async def test_a_stream_of_requests_can_be_written_by_hand(stub: Any) -> None:
    call = stub.WriteUpload()
    await call.write(pb.WriteUploadRequest(data=b"abc"))
    await call.done_writing()

    assert (await call).upload.committed_size == 3


async def test_a_stream_of_responses_arrives_in_order(stub: Any) -> None:
    responses = [response async for response in stub.WatchDatasetVersion(WATCH)]

    assert [response.dataset_version.rejected for response in responses] == [0, 1, 2]


@FORMS
async def test_a_named_error_arrives_with_everything_it_tells(stub: Any, datasets: Any, call: Any) -> None:
    told = errors.Overloaded(
        "the queue is full",
        metadata={"limit": "64"},
        violations=[FieldViolation("spec.epochs", "be fewer")],
        retry_after_seconds=0.5,
    )
    datasets.on(GET.name, raising(told))
    datasets.on(WATCH.name, raising(told))

    with pytest.raises(errors.Overloaded) as raised, named_errors():
        await call(stub)

    assert vars(raised.value) == vars(told)


@FORMS
async def test_an_unknown_exception_is_logged_whole_and_told_without_its_text(
    stub: Any, datasets: Any, call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    boom = RuntimeError("the password is 1234")
    datasets.on(GET.name, raising(boom))
    datasets.on(WATCH.name, raising(boom))

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(stub)

    error = from_rpc_error(raised.value)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert type(error) is errors.Internal
    assert error.message == f"internal error, request id {datasets.request_ids[-1]}"
    assert "1234" not in str(raised.value)
    (logged,) = [record for record in caplog.records if record.exc_info]
    assert logged.exc_info is not None and logged.exc_info[1] is boom


async def test_the_messages_before_an_error_arrive(stub: Any, datasets: Any) -> None:
    datasets.on(WATCH.name, raising(errors.NotFound("deleted meanwhile")))
    arrived = []

    with pytest.raises(errors.NotFound), named_errors():
        async for response in stub.WatchDatasetVersion(WATCH):
            arrived.append(response.dataset_version.rejected)

    assert arrived == [0, 1, 2]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(
            errors.InvalidField(
                "too many",
                violations=[FieldViolation(f"rows[{row}].value", "be a number " * 8) for row in range(500)],
            ),
            id="violations",
        ),
        pytest.param(errors.MalformedFile("x" * 50_000), id="text"),
        pytest.param(errors.MalformedFile("ü€" * 400), id="text that is longer in UTF-8"),
        pytest.param(errors.TooLarge("too large", metadata={"key": "v" * 50_000}), id="metadata"),
    ],
)
async def test_an_error_with_very_much_to_tell_still_arrives(
    stub: Any, datasets: Any, error: LeptonError
) -> None:
    datasets.on(GET.name, raising(error))

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetDataset(GET)

    arrived = from_rpc_error(raised.value)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert type(arrived) is type(error)
    assert arrived.message[:100] == error.message[:100]
    assert error.violations[: len(arrived.violations)] == arrived.violations


async def test_a_bad_field_is_named_with_its_path(stub: Any, datasets: Any) -> None:
    datasets.on("datasets/Digits!", raising(AssertionError("the servicer was called")))

    with pytest.raises(errors.InvalidField) as raised, named_errors():
        await stub.GetDataset(pb.GetDatasetRequest(name="datasets/Digits!"))

    (violation,) = raised.value.violations
    assert violation.field == "name"
    assert "must" in violation.description or "match" in violation.description
    assert not datasets.begun.is_set()


async def test_every_bad_field_is_named(stub: Any) -> None:
    sources = [pb.Source(upload="datasets/a/uploads/b"), pb.Source(format=77)]  # type: ignore[arg-type]
    version = pb.DatasetVersion(
        labels={str(number): "x" for number in range(65)}, spec=pb.DatasetVersionSpec(sources=sources)
    )

    with pytest.raises(errors.InvalidField) as raised, named_errors():
        await stub.CreateDatasetVersion(
            pb.CreateDatasetVersionRequest(parent="datasets/a", dataset_version=version)
        )

    assert {violation.field for violation in raised.value.violations} >= {
        "dataset_version.labels",
        "dataset_version.spec.sources[1].upload",
        "dataset_version.spec.sources[1].format",
    }


async def test_a_bad_message_in_the_middle_of_a_stream_is_refused(stub: Any) -> None:
    with pytest.raises(errors.InvalidField, match="offset"), named_errors():
        await stub.WriteUpload(pieces(pb.WriteUploadRequest(data=b"abc"), pb.WriteUploadRequest(offset=-1)))


async def test_a_method_that_the_servicer_leaves_out_is_unimplemented(
    stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(errors.Unimplemented), named_errors():
        await stub.ListDatasets(pb.ListDatasetsRequest())

    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    "path", ["/lepton.dataset.v1.DatasetService/Nope", "/no.such.Service/Get", "/nonsense"]
)
async def test_a_method_that_does_not_exist_is_unimplemented(start: Any, path: str) -> None:
    server = await start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        method: Any = channel.unary_unary(path)
        with pytest.raises(errors.Unimplemented), named_errors():
            await method(b"")


@pytest.mark.parametrize("form", ["unary", "client stream"])
async def test_bytes_that_are_no_message_are_refused(start: Any, form: str) -> None:
    server = await start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        get: Any = channel.unary_unary("/lepton.dataset.v1.DatasetService/GetDataset")
        write: Any = channel.stream_unary("/lepton.dataset.v1.DatasetService/WriteUpload")
        with pytest.raises(errors.InvalidField, match="no message"), named_errors():
            await (get(b"\xff\xff") if form == "unary" else write(iter([b"\xff\xff"])))


async def test_a_message_over_the_limit_is_refused_and_the_server_goes_on(start: Any, stub_to: Any) -> None:
    stub = await stub_to((await start(max_message_bytes=100_000)).address)

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.WriteUpload(pieces(pb.WriteUploadRequest(data=bytes(100_001))))

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.GetDataset(GET)).dataset.name == GET.name


async def test_messages_of_many_megabytes_pass_by_default(stub: Any) -> None:
    # gRPC's own limit is 4 MiB.
    await stub.DeleteDataset(pb.DeleteDatasetRequest(name=GET.name, etag="x" * 20_000_000))


class TestRequestIds:
    async def test_the_callers_id_comes_back_and_reaches_the_servicer(self, stub: Any, datasets: Any) -> None:
        call = stub.GetDataset(GET, metadata=((KEY, "run-7"),))
        await call

        assert (await call.trailing_metadata())[KEY] == "run-7"
        assert datasets.request_ids == ["run-7"]

    @pytest.mark.parametrize("offered", [(), ((KEY, 'x"} {"level": "ERROR'),)], ids=["none", "a bad one"])
    async def test_one_is_made_up_in_place_of(self, stub: Any, datasets: Any, offered: Any) -> None:
        call = stub.GetDataset(GET, metadata=offered)
        await call

        (made,) = datasets.request_ids
        assert (await call.trailing_metadata())[KEY] == made
        assert len(made) == 32

    async def test_it_comes_back_with_an_error_and_after_a_stream(self, stub: Any, datasets: Any) -> None:
        datasets.on(GET.name, raising(errors.NotFound("gone")))
        failing = stub.GetDataset(GET, metadata=((KEY, "one"),))
        streaming = stub.WatchDatasetVersion(WATCH, metadata=((KEY, "two"),))

        with pytest.raises(grpc.aio.AioRpcError):
            await failing
        async for _ in streaming:
            pass

        assert (await failing.trailing_metadata())[KEY] == "one"
        assert (await streaming.trailing_metadata())[KEY] == "two"

    async def test_it_goes_on_with_the_calls_that_a_servicer_makes(
        self, stub: Any, datasets: Any, stub_to: Any, start: Any
    ) -> None:
        datasets.on(GET.name, lambda: stub.DeleteDataset(pb.DeleteDatasetRequest(name="datasets/other")))

        await stub.GetDataset(GET, metadata=((KEY, "run-7"),))

        assert datasets.request_ids == ["run-7", "run-7"]

    async def test_calls_at_the_same_time_keep_theirs(self, stub: Any, datasets: Any) -> None:
        ids = [f"call-{number}" for number in range(20)]

        await asyncio.gather(*(stub.GetDataset(GET, metadata=((KEY, name),)) for name in ids))

        assert sorted(datasets.request_ids) == sorted(ids)


class TestDeadlines:
    async def test_a_unary_call_without_one_gets_the_servers(
        self, start: Any, stub_to: Any, datasets: Any
    ) -> None:
        stub = await stub_to((await start(default_deadline_seconds=0.2)).address)
        datasets.on(GET.name, forever)

        with pytest.raises(errors.DeadlineExceeded, match=r"0\.2 s"), named_errors():
            await stub.GetDataset(GET)

        assert datasets.cancelled.is_set()

    async def test_the_callers_own_goes_first(self, start: Any, stub_to: Any, datasets: Any) -> None:
        stub = await stub_to((await start(default_deadline_seconds=0.1)).address)
        datasets.on(GET.name, lambda: asyncio.sleep(0.4))

        response = await stub.GetDataset(GET, timeout=30)

        assert response.dataset.name == GET.name

    async def test_the_callers_own_ends_the_work(
        self, stub: Any, datasets: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        datasets.on(GET.name, forever)

        with pytest.raises(errors.DeadlineExceeded), named_errors():
            await stub.GetDataset(GET, timeout=0.2)

        await asyncio.wait_for(datasets.cancelled.wait(), 5)
        await asyncio.sleep(0)
        assert last_call(caplog).code == "DEADLINE_EXCEEDED"

    async def test_a_stream_has_none(self, start: Any, stub_to: Any, datasets: Any) -> None:
        stub = await stub_to((await start(default_deadline_seconds=0.1)).address)
        datasets.on(WATCH.name, lambda: asyncio.sleep(0.4))

        responses = [response async for response in stub.WatchDatasetVersion(WATCH)]

        assert len(responses) == 3

    async def test_a_timeout_of_something_else_is_no_deadline(self, stub: Any, datasets: Any) -> None:
        datasets.on(GET.name, raising(TimeoutError()))

        with pytest.raises(errors.Internal), named_errors():
            await stub.GetDataset(GET)


class TestCancellation:
    @pytest.mark.parametrize("form", ["unary", "server stream"])
    async def test_a_caller_that_leaves_ends_the_work_and_is_no_error(
        self, stub: Any, datasets: Any, caplog: pytest.LogCaptureFixture, form: str
    ) -> None:
        caplog.set_level(logging.INFO)
        datasets.on(GET.name, forever)
        datasets.on(WATCH.name, forever)
        call = stub.GetDataset(GET) if form == "unary" else stub.WatchDatasetVersion(WATCH)
        if form == "server stream":
            await call.read()
        await asyncio.wait_for(datasets.begun.wait(), 5)

        call.cancel()

        await asyncio.wait_for(datasets.cancelled.wait(), 5)
        await asyncio.sleep(0)
        assert last_call(caplog).code == "CANCELLED"
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    async def test_a_reader_that_leaves_in_the_middle_ends_the_stream(self, stub: Any, datasets: Any) -> None:
        datasets.on(WATCH.name, forever)

        async with streaming(stub.WatchDatasetVersion(WATCH)) as responses:
            async for _ in responses:
                await asyncio.wait_for(datasets.begun.wait(), 5)
                break

        await asyncio.wait_for(datasets.cancelled.wait(), 5)

    async def test_something_else_that_was_cancelled_is_a_fault_of_ours(
        self, stub: Any, datasets: Any
    ) -> None:
        datasets.on(GET.name, raising(asyncio.CancelledError()))

        begin = time.monotonic()
        with pytest.raises(errors.Internal), named_errors():
            await stub.GetDataset(GET, timeout=10)

        assert time.monotonic() - begin < 5
