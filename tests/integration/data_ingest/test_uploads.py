"""Files arrive whole or not at all, whatever happens on the way."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common.errors import (
    ChecksumMismatch,
    InvalidField,
    LeptonError,
    NotFound,
    TooLarge,
    WrongOffset,
)

PART = 8 * 1024 * 1024
MIB = 1 << 20
DATA = hashlib.shake_256(b"lepton").digest(2 * PART + 1000)
STEPS = [(start, DATA[start : start + MIB]) for start in range(0, len(DATA), MIB)]


async def test_a_file_arrives_whole(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    upload = await client.announce(dataset, DATA, "data.bin")
    assert (upload.name, upload.committed_size, upload.complete) == (f"{dataset}/uploads/1", 0, False)
    done = await client.write(upload, *STEPS, finish=True)
    assert (done.committed_size, done.complete) == (len(DATA), True)
    parts = ingest.objects.list(f"{dataset}/uploads/{upload.uid}")
    assert [part.size for part in parts] == [PART, PART, 1000]
    assert b"".join(ingest.objects.get(part.key) for part in parts) == DATA


async def test_a_broken_stream_keeps_whole_parts_and_goes_on_there(client: Any) -> None:
    upload = await client.announce(await client.dataset(), DATA)
    broken = asyncio.Event()

    async def breaking() -> AsyncIterator[pb.WriteUploadRequest]:
        for offset, data in STEPS[:11]:
            yield pb.WriteUploadRequest(name=upload.name, offset=offset, data=data)
        broken.set()
        await asyncio.Event().wait()

    stream = client.stub.WriteUpload(breaking())
    await broken.wait()
    while (committed := (await status(client, upload)).committed_size) == 0:
        await asyncio.sleep(0.02)
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    assert committed == PART
    with pytest.raises(WrongOffset) as caught:
        await client.write(upload, *STEPS[11:], finish=True)
    assert caught.value.metadata["committed_size"] == str(PART)
    done = await client.write(upload, *STEPS[8:], finish=True)
    assert done.complete


async def test_a_stream_may_end_between_parts(client: Any) -> None:
    upload = await client.announce(await client.dataset(), DATA)
    reached = await client.write(upload, *STEPS[:10])
    assert (reached.committed_size, reached.complete) == (PART, False)
    reached = await client.write(upload, *STEPS[8:])
    assert (reached.committed_size, reached.complete) == (len(DATA), False)
    assert (await client.write(upload, (len(DATA), b""), finish=True)).complete


async def test_finishing_twice_is_fine(client: Any) -> None:
    upload = await client.announce(await client.dataset(), b"abc")
    assert (await client.write(upload, (0, b"abc"), finish=True)).complete
    assert (await client.write(upload, (3, b""), finish=True)).complete
    with pytest.raises(WrongOffset) as caught:
        await client.write(upload, (0, b"abc"), finish=True)
    assert caught.value.metadata["committed_size"] == "3"


async def test_a_file_that_is_not_the_announced_one_starts_again(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    upload = await client.announce(dataset, DATA)
    wrong = [(offset, bytes(len(data))) for offset, data in STEPS]
    with pytest.raises(ChecksumMismatch, match="starts again at byte 0"):
        await client.write(upload, *wrong, finish=True)
    now = await status(client, upload)
    assert (now.committed_size, now.complete) == (0, False)
    assert ingest.objects.list(f"{dataset}/uploads/{upload.uid}") == []
    assert (await client.write(upload, *STEPS, finish=True)).complete


async def test_a_file_that_changes_half_way_starts_again(client: Any) -> None:
    upload = await client.announce(await client.dataset(), DATA)
    await client.write(upload, *[(offset, bytes(len(data))) for offset, data in STEPS[:8]])
    with pytest.raises(ChecksumMismatch):
        await client.write(upload, *STEPS[8:], finish=True)
    assert (await client.write(upload, *STEPS, finish=True)).complete


async def test_a_file_that_ends_too_early_is_not_finished(client: Any) -> None:
    upload = await client.announce(await client.dataset(), DATA)
    with pytest.raises(ChecksumMismatch, match=f"ends after {9 * MIB} of the {len(DATA)} announced bytes"):
        await client.write(upload, *STEPS[:9], finish=True)
    assert (await status(client, upload)).committed_size == PART
    assert (await client.write(upload, *STEPS[8:], finish=True)).complete


async def test_more_than_was_announced_is_refused(client: Any) -> None:
    upload = await client.announce(await client.dataset(), b"abc")
    with pytest.raises(TooLarge) as caught:
        await client.write(upload, (0, b"abcd"), finish=True)
    assert caught.value.metadata == {"limit_bytes": "3", "size_bytes": "4"}
    assert (await client.write(upload, (0, b"abc"), finish=True)).complete


async def test_of_two_writers_at_once_nothing_wrong_comes(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    upload = await client.announce(dataset, DATA)

    async def persistent() -> pb.Upload:
        while not (now := await status(client, upload)).complete:
            with suppress(WrongOffset):
                await client.write(upload, *STEPS[now.committed_size // MIB :], finish=True)
        return now

    done = await asyncio.gather(*(persistent() for _ in range(3)))
    assert all(upload.complete for upload in done)
    parts = ingest.objects.list(f"{dataset}/uploads/{upload.uid}")
    assert b"".join(ingest.objects.get(part.key) for part in parts) == DATA


async def test_a_writer_of_other_bytes_cannot_spoil_a_file(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    upload = await client.announce(dataset, DATA)

    async def spoil() -> None:
        wrong = [(offset, bytes(len(data))) for offset, data in STEPS]
        with pytest.raises((ChecksumMismatch, WrongOffset)):
            await client.write(upload, *wrong, finish=True)

    async def persist() -> None:
        while not (now := await status(client, upload)).complete:
            with suppress(ChecksumMismatch, WrongOffset):
                await client.write(upload, *STEPS[now.committed_size // MIB :], finish=True)

    await asyncio.gather(persist(), spoil(), spoil())
    parts = ingest.objects.list(f"{dataset}/uploads/{upload.uid}")
    assert b"".join(ingest.objects.get(part.key) for part in parts) == DATA


async def test_a_known_file_is_not_sent_again(client: Any) -> None:
    dataset, other = await client.dataset(), await client.dataset()
    upload = await client.announce(dataset, b"abc", "a.csv")
    assert (await client.announce(dataset, b"abc", "a.csv")).name == f"{dataset}/uploads/2"
    await client.write(upload, (0, b"abc"), finish=True)
    again = await client.announce(dataset, b"abc", "a.csv")
    assert (again.name, again.complete) == (upload.name, True)
    assert not (await client.announce(dataset, b"abc", "b.csv")).complete
    assert not (await client.announce(other, b"abc", "a.csv")).complete


async def test_a_retried_announcement_gives_the_same_upload(client: Any) -> None:
    dataset = await client.dataset()
    upload = pb.Upload(filename="x", size_bytes=3, sha256=hashlib.sha256(b"abc").hexdigest())
    request = pb.CreateUploadRequest(parent=dataset, upload=upload, request_id="one")
    names = {(await client.stub.CreateUpload(request)).upload.name for _ in range(3)}
    assert names == {f"{dataset}/uploads/1"}


async def test_uploads_are_listed_and_deleted_with_their_bytes(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    names = [await client.upload(dataset, b"%d" % number, f"{number}.csv") for number in range(11)]
    listed = await client.stub.ListUploads(pb.ListUploadsRequest(parent=dataset, page_size=10))
    assert [upload.name for upload in listed.uploads] == names[:10]
    rest = pb.ListUploadsRequest(parent=dataset, page_token=listed.next_page_token)
    assert [upload.name for upload in (await client.stub.ListUploads(rest)).uploads] == names[10:]
    await client.stub.DeleteUpload(pb.DeleteUploadRequest(name=names[0]))
    assert len(ingest.objects.list(f"{dataset}/uploads")) == 10
    with pytest.raises(NotFound):
        await client.call(client.stub.GetUpload(pb.GetUploadRequest(name=names[0])))


GOOD = {"size_bytes": 3, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("filename", "facts"),
    [
        ("../etc/passwd", GOOD),
        ("a\\b", GOOD),
        ("", GOOD),
        ("x" * 256, GOOD),
        ("x", GOOD | {"size_bytes": 0}),
        ("x", GOOD | {"size_bytes": 1 << 41}),
        ("x", GOOD | {"sha256": "abc"}),
        ("x", GOOD | {"sha256": "A" * 64}),
    ],
    ids=[
        "path",
        "backslash",
        "nameless",
        "long",
        "empty-file",
        "two-terabytes",
        "short-digest",
        "upper-case",
    ],
)
async def test_a_wrong_announcement_is_refused(client: Any, filename: str, facts: dict[str, Any]) -> None:
    dataset = await client.dataset()
    with pytest.raises(InvalidField) as caught:
        await client.announce(dataset, b"", filename, **facts)
    assert caught.value.violations


@pytest.mark.parametrize(
    ("messages", "error", "text"),
    [
        ([], InvalidField, "the stream was empty"),
        ([pb.WriteUploadRequest(data=b"x")], InvalidField, "must name its upload"),
        ([pb.WriteUploadRequest(name="datasets/none/uploads/1")], NotFound, "does not exist"),
        ([pb.WriteUploadRequest(name="x", offset=-1)], InvalidField, "offset"),
        ([pb.WriteUploadRequest(name="x", data=bytes(2 * MIB + 1))], InvalidField, "data"),
    ],
    ids=["no-message", "no-name", "unknown", "negative-offset", "too-much-at-once"],
)
async def test_a_wrong_write_is_refused(
    client: Any, messages: list[pb.WriteUploadRequest], error: type[LeptonError], text: str
) -> None:
    async def stream() -> AsyncIterator[pb.WriteUploadRequest]:
        for message in messages:
            yield message

    with pytest.raises(error, match=text):
        await client.call(client.stub.WriteUpload(stream()))


async def test_a_stream_belongs_to_one_upload(client: Any) -> None:
    dataset = await client.dataset()
    first, second = await client.announce(dataset, b"abcd"), await client.announce(dataset, b"efgh")

    async def stream() -> AsyncIterator[pb.WriteUploadRequest]:
        yield pb.WriteUploadRequest(name=first.name, data=b"ab")
        yield pb.WriteUploadRequest(name=second.name, offset=2, data=b"gh")

    with pytest.raises(InvalidField, match="belongs to the upload that the first one names"):
        await client.call(client.stub.WriteUpload(stream()))


async def test_an_upload_of_an_unknown_dataset_is_refused(client: Any) -> None:
    with pytest.raises(NotFound, match="'datasets/none' does not exist"):
        await client.announce("datasets/none", b"abc")


async def test_a_service_killed_in_the_middle_of_an_upload_goes_on(own_ingest: Any, own_client: Any) -> None:
    upload = await own_client.announce(await own_client.dataset(), DATA)
    killed = asyncio.Event()

    async def slow() -> AsyncIterator[pb.WriteUploadRequest]:
        for offset, data in STEPS[:12]:
            yield pb.WriteUploadRequest(name=upload.name, offset=offset, data=data)
        await killed.wait()

    stream = own_client.stub.WriteUpload(slow())
    while (await status(own_client, upload)).committed_size < PART:
        await asyncio.sleep(0.02)
    await asyncio.to_thread(own_ingest.kill)
    killed.set()
    await asyncio.to_thread(own_ingest.start)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await stream
    reached = await status(own_client, upload)
    assert (reached.committed_size, reached.complete) == (PART, False)
    assert (await own_client.write(upload, *STEPS[8:], finish=True)).complete


async def status(client: Any, upload: pb.Upload) -> pb.Upload:
    """An upload as it is now."""
    found: pb.Upload = (
        await client.call(client.stub.GetUpload(pb.GetUploadRequest(name=upload.name)))
    ).upload
    return found
