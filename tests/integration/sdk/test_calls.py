"""One call, and one that is followed, with a service that goes away."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lepton_common import errors
from lepton_common.server import Server
from lepton_sdk import calls
from lepton_sdk.client import Client
from lepton_sdk.jobs import wait

from .conftest import JOB, addresses, training_job


async def test_all_pages_of_a_list_are_read(client: Client) -> None:
    jobs = await client.training.list()
    assert len(jobs) == 3000
    assert jobs[-1].name == "trainingJobs/job-2-999"


async def test_a_refusal_is_a_named_error(client: Client) -> None:
    with pytest.raises(errors.NotFound, match="there is no trainingJobs/other"):
        await client.training.get("trainingJobs/other")


async def test_a_call_outlasts_a_restart(
    client: Client, server: Server, start: Callable[..., Awaitable[Server]]
) -> None:
    await client.training.get(JOB)
    await server.drain()
    asked = asyncio.create_task(client.training.get(JOB))
    await asyncio.sleep(1)
    await start(listen=server.address)
    assert (await asked).name == JOB


async def test_a_service_that_stays_away_is_told_in_the_end(
    dead_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "RESTART_SECONDS", 0.0)

    async def follow(client: Client) -> None:
        async for _ in client.training.watch(JOB):
            pass

    async with Client(addresses(dead_address)) as client:
        for failed in await asyncio.gather(client.training.get(JOB), follow(client), return_exceptions=True):
            assert isinstance(failed, errors.DependencyUnavailable)
            assert "no answer from the service" in str(failed)
        assert client.unreachable()["trainer"] == dead_address
        assert "registry" not in client.unreachable(), "nobody has asked for it"


async def test_a_job_is_followed_to_its_end(client: Client, training: Any) -> None:
    states = [job.status.state async for job in client.training.watch(JOB)]
    assert states == [job.status.state for job in training.life]
    assert training.watches == 1


async def test_a_job_is_followed_across_a_restart(
    client: Client, training: Any, server: Server, start: Callable[..., Awaitable[Server]]
) -> None:
    # The first server tells of one step and then no more.
    reached = asyncio.Event()

    async def pause(step: int) -> None:
        if step == 1 and training.watches == 1:
            reached.set()
            await asyncio.sleep(60)

    training.pause = pause
    following = asyncio.create_task(wait(client.training.watch(JOB)))
    await reached.wait()
    await server.drain()
    await asyncio.sleep(1)
    await start(listen=server.address)
    ended = await following
    assert ended.model_version == "models/digits/versions/1"
    assert training.watches == 2


async def test_who_leaves_ends_the_stream_on_the_server(client: Client, training: Any) -> None:
    async def pause(step: int) -> None:
        if step == 1:
            await asyncio.sleep(60)

    training.pause = pause
    async with contextlib.aclosing(client.training.watch(JOB)) as updates:
        async for _ in updates:
            break
    assert await asyncio.to_thread(training.broken_off.wait, 5)


async def test_who_is_cancelled_ends_the_stream_on_the_server(client: Client, training: Any) -> None:
    begun = asyncio.Event()

    async def pause(step: int) -> None:
        begun.set()
        await asyncio.sleep(60)

    training.pause = pause
    following = asyncio.create_task(wait(client.training.watch(JOB)))
    await begun.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert await asyncio.to_thread(training.broken_off.wait, 5)


async def test_a_refused_watch_is_an_error_at_once(client: Client, training: Any) -> None:
    with pytest.raises(errors.NotFound, match="there is no trainingJobs/other"):
        await wait(client.training.watch("trainingJobs/other"))
    assert training.watches == 1


async def test_a_stream_that_ends_before_the_job_is_no_success(client: Client, training: Any) -> None:
    training.life = [training_job("RUNNING")]
    with pytest.raises(errors.WrongState, match="has not ended"):
        await wait(client.training.watch(JOB))
