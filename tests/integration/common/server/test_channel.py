"""What a channel takes off its user: retries, restarts, and more than one replica."""

import asyncio
import socket
from typing import Any

import pytest

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common import errors
from lepton_common.rpc import named_errors

GET = pb.GetDatasetRequest(name="datasets/digits")
WATCH = pb.WatchDatasetVersionRequest(name="datasets/digits/versions/1")


async def test_a_call_that_meets_a_replica_on_its_way_out_is_made_again(stub: Any, datasets: Any) -> None:
    refusals = iter([errors.ShuttingDown("going"), errors.ShuttingDown("going too")])

    async def behaviour() -> None:
        for refusal in refusals:
            raise refusal

    datasets.on(GET.name, behaviour)

    assert (await stub.GetDataset(GET)).dataset.name == GET.name
    assert len(datasets.request_ids) == 3


async def test_after_five_attempts_the_error_is_told(stub: Any, datasets: Any) -> None:
    async def behaviour() -> None:
        raise errors.ShuttingDown("every replica is going")

    datasets.on(GET.name, behaviour)

    with pytest.raises(errors.ShuttingDown, match="every replica is going"), named_errors():
        await stub.GetDataset(GET)

    assert len(datasets.request_ids) == 5


@pytest.mark.parametrize(
    "error",
    [
        errors.Overloaded("full"),
        errors.NotFound("gone"),
        errors.Internal("oh"),
        # Would be repeated, had the server not said when to come back.
        errors.DependencyUnavailable("the registry does not answer", retry_after_seconds=5),
    ],
    ids=lambda e: e.reason,
)
async def test_an_answer_is_not_asked_for_again(stub: Any, datasets: Any, error: errors.LeptonError) -> None:
    async def behaviour() -> None:
        raise error

    datasets.on(GET.name, behaviour)

    with pytest.raises(type(error)), named_errors():
        await stub.GetDataset(GET)

    assert len(datasets.request_ids) == 1


async def test_a_server_can_be_restarted_under_its_callers(start: Any, stub_to: Any) -> None:
    server = await start()
    stub = await stub_to(server.address)
    await stub.GetDataset(GET)

    await server.drain()
    call = asyncio.ensure_future(stub.GetDataset(GET))
    await asyncio.sleep(1)
    await start(listen=server.address)

    assert (await call).dataset.name == GET.name


async def test_a_call_to_nobody_is_an_error_in_the_end(stub_to: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        stub = await stub_to(f"127.0.0.1:{closed.getsockname()[1]}")

        with pytest.raises(errors.LeptonError) as raised, named_errors():
            await stub.GetDataset(GET, timeout=2)

    assert type(raised.value) in (errors.DependencyUnavailable, errors.DeadlineExceeded)


async def test_a_caller_without_credentials_keeps_the_metadata_it_gave(stub: Any) -> None:
    call = stub.GetDataset(GET, metadata=(("x-request-id", "mine"), ("other", "value")))
    await call

    assert (await call.trailing_metadata())["x-request-id"] == "mine"


async def test_every_replica_gets_its_share(start: Any, stub_to: Any, subject: Any) -> None:
    replicas = [subject() for _ in range(3)]
    servers = [await start(replica.service) for replica in replicas]
    stub = await stub_to("ipv4:" + ",".join(server.address for server in servers))
    await stub.GetDataset(GET)
    # The other connections come up behind the first one's back.
    await asyncio.sleep(0.5)

    for _ in range(30):
        await stub.GetDataset(GET)

    assert all(9 <= len(replica.datasets.request_ids) <= 12 for replica in replicas)
