"""A file on its way to a server that has troubles of its own."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from lepton_common import errors
from lepton_common.server import Server
from lepton_sdk import uploads
from lepton_sdk.client import Client

Progress = list[tuple[int, int]]
SIZE = 5_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five pieces, the last one short."""
    path = tmp_path / "digits.npz"
    path.write_bytes(random.Random(7).randbytes(SIZE))
    return path


async def upload(client: Client, path: Path) -> Progress:
    """Send the file, and return what was told of it on the way."""
    told: Progress = []
    sent = await client.datasets.upload(
        "datasets/digits", path, on_progress=lambda done, total: told.append((done, total))
    )
    assert sent.complete
    return told


async def test_a_file_arrives_whole_and_its_progress_is_told(
    client: Client, datasets: Any, file: Path
) -> None:
    told = await upload(client, file)
    assert datasets.content == file.read_bytes()
    assert datasets.offsets == [0]
    assert told == sorted(told), "it never goes back"
    assert {total for _, total in told} == {SIZE}
    assert (told[0][0], told[-1][0]) == (0, SIZE)


async def test_a_folder_arrives_as_a_tar(client: Client, datasets: Any, tmp_path: Path) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "pets" / "cat" / "a.png").write_bytes(b"cat")
    await upload(client, tmp_path / "pets")
    assert datasets.upload.filename == "pets.tar"
    assert b"cat/a.png" in datasets.content


async def test_what_is_there_is_not_sent_again(client: Client, datasets: Any, file: Path) -> None:
    datasets.upload.complete = True
    await upload(client, file)
    assert datasets.offsets == []


async def test_what_is_half_there_is_gone_on_with(client: Client, datasets: Any, file: Path) -> None:
    datasets.content += file.read_bytes()[:1_234_567]
    datasets.upload.committed_size = 1_234_567
    told = await upload(client, file)
    assert datasets.content == file.read_bytes()
    assert datasets.offsets == [1_234_567]
    assert told[0] == (1_234_567, SIZE)


async def test_the_server_knows_better_where_to_go_on(client: Client, datasets: Any, file: Path) -> None:
    # Somebody else sends the same file.
    datasets.content += file.read_bytes()[:2_000_000]
    await upload(client, file)
    assert datasets.content == file.read_bytes()
    assert datasets.offsets == [0, 2_000_000]


async def test_a_stream_that_breaks_in_the_middle_is_taken_up(
    client: Client, datasets: Any, file: Path
) -> None:
    breaks = iter([None, None, errors.ShuttingDown("going"), None, errors.ShuttingDown("going again")])

    async def trouble() -> None:
        if failure := next(breaks, None):
            raise failure

    datasets.trouble = trouble
    await upload(client, file)
    assert datasets.content == file.read_bytes()
    assert datasets.offsets[0] == 0
    assert datasets.offsets[-1] > 0


async def test_a_server_is_restarted_in_the_middle(
    client: Client, datasets: Any, file: Path, server: Server, start: Callable[..., Awaitable[Server]]
) -> None:
    halfway = asyncio.Event()

    async def trouble() -> None:
        if len(datasets.content) > SIZE / 2 and not halfway.is_set():
            halfway.set()
            await asyncio.sleep(60)

    datasets.trouble = trouble
    sending = asyncio.create_task(upload(client, file))
    await halfway.wait()
    await server.drain()
    await start(listen=server.address)
    told = await sending
    assert datasets.content == file.read_bytes()
    assert datasets.offsets[-1] > SIZE / 2, "what had arrived was not sent again"
    assert told[-1] == (SIZE, SIZE)


async def test_a_server_that_never_agrees_is_given_up(
    client: Client, datasets: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "RECONNECT_SECONDS", 1.0)

    async def trouble() -> None:
        raise errors.WrongOffset("somewhere else")

    datasets.trouble = trouble
    with pytest.raises(errors.DependencyUnavailable, match=r"digits\.npz could not be uploaded: somewhere"):
        await upload(client, file)
    assert len(datasets.offsets) > 1, "it was tried again"


async def test_a_server_that_takes_nothing_is_given_up(
    client: Client, datasets: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "RECONNECT_SECONDS", 1.0)
    monkeypatch.setattr(uploads, "STALL_SECONDS", 0.3)

    async def trouble() -> None:
        await asyncio.sleep(60)

    datasets.trouble = trouble
    with pytest.raises(errors.DependencyUnavailable, match=r"nothing was taken for 0\.3 seconds"):
        await upload(client, file)


async def test_a_refusal_is_told_at_once(client: Client, datasets: Any, file: Path) -> None:
    async def trouble() -> None:
        raise errors.ChecksumMismatch("not the announced bytes")

    datasets.trouble = trouble
    with pytest.raises(errors.ChecksumMismatch, match="not the announced bytes"):
        await asyncio.wait_for(upload(client, file), 10)


async def test_a_file_that_becomes_shorter_is_told(client: Client, file: Path) -> None:
    def cut_off(done: int, total: int) -> None:
        if done > total / 2:
            file.write_bytes(b"")

    with pytest.raises(errors.InvalidField, match="became shorter"):
        await client.datasets.upload("datasets/digits", file, on_progress=cut_off)


async def test_a_file_that_is_taken_away_is_told(client: Client, datasets: Any, file: Path) -> None:
    async def trouble() -> None:
        file.unlink(missing_ok=True)
        raise errors.WrongOffset("once more")

    datasets.trouble = trouble
    with pytest.raises(errors.InvalidField, match="cannot be read: No such file"):
        await upload(client, file)


async def test_a_caller_that_gives_up_ends_the_stream(client: Client, datasets: Any, file: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def trouble() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()
            raise

    datasets.trouble = trouble
    sending = asyncio.create_task(upload(client, file))
    await begun.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.wait_for(ended.wait(), 5)
