"""Endpoints that follow a model, and how they say that versions run: from the command to the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton.endpoint.v1 import endpoint_pb2
from lepton_sdk import pipeline
from lepton_sdk.addresses import Addresses
from lepton_sdk.cli import command
from lepton_sdk.client import Client

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

READY = endpoint_pb2.SERVING_STATE_READY
FAILED = endpoint_pb2.SERVING_STATE_FAILED
PATIENCE_SECONDS = 60.0

Models = dict[str, Callable[..., bytes]]
Ask = Callable[..., pb.ModelInferRequest]
Lepton = Callable[..., Result]


@pytest.fixture(autouse=True)
def emptied(registry: Registry) -> Iterator[None]:
    """Endpoints of one test are not there for the next."""
    yield
    registry.clear()


@pytest.fixture
def addresses(registry: Registry, server: InferenceServer) -> Addresses:
    """The registry and the server; the other services are not there."""
    nowhere = dict.fromkeys((field.name for field in fields(Addresses)), "127.0.0.1:1")
    return Addresses(**nowhere | {"registry": registry.address, "inference": server.address})


@pytest.fixture
def lepton(addresses: Addresses, tmp_path: Path) -> Lepton:
    """Runs the command in this process."""
    addresses.write(tmp_path / "endpoints.json")

    def run(*words: str) -> Result:
        done = CliRunner().invoke(command, ["--endpoints", str(tmp_path / "endpoints.json"), *words])
        assert done.exit_code == 0, done.output
        return done

    return run


def value(response: pb.ModelInferResponse) -> float:
    return float(np.frombuffer(response.raw_output_contents[0], np.float32)[0])


class Changes:
    """What is answered to the same request, one time after the other."""

    def __init__(self, infer: Callable[[], Awaitable[pb.ModelInferResponse]]) -> None:
        self.answers: list[float] = []
        self._infer = infer

    async def ask(self) -> None:
        """Asks until cancelled."""
        while True:
            self.answers.append(value(await self._infer()))

    async def until(self, answer: float) -> None:
        """Waits until this is answered."""
        seen = len(self.answers)
        while answer not in self.answers[seen:]:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def asking(server: InferenceServer, request: pb.ModelInferRequest) -> AsyncIterator[Changes]:
    """Asks all the time, and fails where one request does."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        grpc.aio.insecure_channel(server.address) as channel,
        asyncio.TaskGroup() as group,
    ):
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        changes = Changes(lambda: stub.ModelInfer(request))
        task = group.create_task(changes.ask())
        yield changes
        task.cancel()


async def test_a_version_takes_over_when_it_is_registered_and_gives_way_when_it_is_deleted(
    server: InferenceServer, registry: Registry, models: Models, ask: Ask
) -> None:
    old = registry.publish("comes", models["scaler"](2))
    registry.follow("comes", "comes")
    registry.wait_for("comes", old, READY)
    async with asking(server, ask("comes", 1)) as changes:
        await changes.until(2)
        new = registry.publish("comes", models["scaler"](3))
        await changes.until(3)
        registry.unpublish(new)
        await changes.until(2)
    assert {*changes.answers} == {2, 3}


async def test_a_version_that_cannot_be_loaded_leaves_the_one_before_answering(
    server: InferenceServer, registry: Registry, models: Models, ask: Ask
) -> None:
    old = registry.publish("fails", models["scaler"](2))
    registry.follow("fails", "fails")
    registry.wait_for("fails", old, READY)
    async with asking(server, ask("fails", 1)) as changes:
        await changes.until(2)
        bad = registry.publish("fails", b"no model")
        assert "cannot load" in registry.wait_for("fails", bad, FAILED).reason
        await changes.until(2)
        assert registry.state("fails", old).state == READY
        registry.publish("fails", models["scaler"](4))
        await changes.until(4)
    assert {*changes.answers} == {2, 4}


async def test_a_server_started_while_the_newest_cannot_be_loaded_has_the_one_before(
    registry: Registry,
    models: Models,
    ask: Ask,
    tmp_path: Path,
    new_server: Callable[[Path], InferenceServer],
) -> None:
    old = registry.publish("starts", models["scaler"](2))
    registry.follow("starts", "starts", latest=2)
    bad = registry.publish("starts", b"no model")
    second = new_server(tmp_path)
    second.start()
    registry.wait_for("starts", bad, FAILED, replica="second")
    registry.wait_for("starts", old, READY, replica="second")
    async with asking(second, ask("starts", 1)) as changes:
        await changes.until(2)
        registry.publish("starts", models["scaler"](4))
        await changes.until(4)
    assert {*changes.answers} == {2, 4}


async def test_versions_before_the_newest_answer_those_who_name_them(
    server: InferenceServer, registry: Registry, models: Models, ask: Ask
) -> None:
    versions = [registry.publish("named", models["scaler"](n)) for n in (2, 3, 4)]
    registry.follow("named", "named", latest=2)
    for version in versions[1:]:
        registry.wait_for("named", version, READY)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        answers = {value(await stub.ModelInfer(ask("named", 1))) for _ in range(20)}
        by_name = ask("named", 1)
        by_name.model_version = "2"
        assert (answers, value(await stub.ModelInfer(by_name))) == ({4}, 3)
        by_name.model_version = "1"
        with pytest.raises(grpc.aio.AioRpcError, match="version 1 of 'named' is not served"):
            await stub.ModelInfer(by_name)


def test_how_an_endpoint_serves_is_said_by_flags_and_shown(
    lepton: Lepton, registry: Registry, models: Models
) -> None:
    for factor in (2, 3):
        registry.publish("flags", models["scaler"](factor))
    put = ("-o", "json", "endpoint", "put", "flags")
    flags = (
        *("--follow", "flags", "--latest", "2", "--max-batch-size", "64", "--preferred-batch-sizes", "16,64"),
        *("--max-queue-delay-microseconds", "500", "--instances", "2", "--threads", "1", "--provider", "cpu"),
        *("--warm-up-runs", "3", "--response-cache-bytes", "1000000"),
    )
    made = json.loads(lepton(*put, *flags).stdout)
    assert made["follow"] == {"model": "models/flags", "latest": {"count": 2}}
    assert [(each["modelVersion"], each.get("weight", 0)) for each in made["targets"]] == [
        ("models/flags/versions/2", 1),
        ("models/flags/versions/1", 0),
    ]
    batching = {"maxBatchSize": 64, "maxQueueDelayMicroseconds": 500, "preferredBatchSizes": [16, 64]}
    assert made["batching"] == batching
    execution = {"instances": 2, "threads": 1, "provider": "PROVIDER_CPU", "warmUpRuns": 3}
    assert (made["execution"], made["responseCacheBytes"]) == (execution, "1000000")

    changed = json.loads(
        lepton(*put, "--instances", "4", "--provider", "default", "--preferred-batch-sizes", "").stdout
    )
    assert changed["execution"] == {"instances": 4, "threads": 1, "warmUpRuns": 3}
    assert changed["batching"] == {"maxBatchSize": 64, "maxQueueDelayMicroseconds": 500}
    kept = ("follow", "targets", "responseCacheBytes")
    assert [changed[field] for field in kept] == [made[field] for field in kept]

    assert lepton("endpoint", "show", "flags").stdout.splitlines()[:3] == [
        "endpoints/flags in pool default",
        "follows models/flags, latest 2",
        "max batch size 64, max queue delay microseconds 500, instances 4, threads 1, warm up runs 3, "
        "response cache bytes 1000000",
    ]
    assert "models/flags, latest 2" in lepton("endpoint", "list").stdout
    settled = json.loads(lepton(*put, "flags@1").stdout)
    assert [each["modelVersion"] for each in settled["targets"]] == ["models/flags/versions/1"]
    assert ("follow" in settled, settled["execution"]) == (False, changed["execution"])
    followed = json.loads(lepton(*put, "--follow", "models/flags", "--all-versions").stdout)
    assert (followed["follow"], len(followed["targets"])) == ({"model": "models/flags", "all": {}}, 2)


async def test_a_pipeline_says_how_its_endpoint_serves(
    addresses: Addresses, registry: Registry, models: Models
) -> None:
    registry.publish("piped", models["scaler"](2))
    stage = {
        "follow": {"model": "models/piped", "latest": {}},
        "batching": {"maxBatchSize": 8},
        "execution": {"warmUpRuns": 2},
        "responseCacheBytes": 1000,
    }
    async with Client(addresses) as client:
        for _ in range(2):
            await pipeline.run(client, pipeline.parse({"name": "piped", "endpoint": stage}, Path()))
            made = await client.endpoints.get("endpoints/piped")
            assert made.follow.model == "models/piped"
            assert [target.model_version for target in made.targets] == ["models/piped/versions/1"]
            assert (made.batching.max_batch_size, made.execution.warm_up_runs) == (8, 2)
            assert made.response_cache_bytes == 1000


async def test_those_of_one_key_are_answered_by_one_version(
    addresses: Addresses, registry: Registry, models: Models
) -> None:
    versions = {registry.publish("keys", models["scaler"](n)): 1 for n in (2, 3)}
    record = {"x": np.ones((1, 2), np.float32)}
    async with Client(addresses) as client:
        await client.endpoints.create("keys", versions)
        await client.endpoints.wait_ready("endpoints/keys")
        answers = {
            key: {
                (await client.inference.predict("keys", record, sequence_key=key)).model_version
                for _ in range(5)
            }
            for key in (f"user-{n}" for n in range(30))
        }
    assert {len(answered) for answered in answers.values()} == {1}
    assert set().union(*answers.values()) == {"1", "2"}
