"""Endpoints that keep what their models gave: the same question is answered without a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference import grpc_service_pb2 as pb
from lepton_common.errors import TensorMismatch
from lepton_common.status import named_errors

from .conftest import InferenceServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub as Stub

    from .conftest import Registry

Models = dict[str, Callable[..., bytes]]
Ask = Callable[..., pb.ModelInferRequest]
KEPT = 1 << 20


@pytest.fixture
def targets(registry: Registry, server: InferenceServer, models: Models) -> Iterator[list[str]]:
    """Versions of `scaler` that double and triple; the first answers, and what it gives is kept."""
    made = [registry.publish("scaler", models["scaler"](factor)) for factor in (2, 3)]
    registry.serve_and_wait("scaler", {made[0]: 1, made[1]: 0}, response_cache_bytes=KEPT)
    yield made
    registry.clear()


def values(response: pb.ModelInferResponse) -> list[float]:
    found: list[float] = np.frombuffer(response.raw_output_contents[0], np.float32).tolist()
    return found


async def statistics(stub: Stub, version: str) -> pb.ModelStatistics:
    request = pb.ModelStatisticsRequest(name="scaler", version=version.rpartition("/")[2])
    return (await stub.ModelStatistics(request)).model_stats[0]


async def counts(stub: Stub, version: str) -> tuple[int, int, int]:
    """Requests that the cache answered, requests that it did not have, and runs of the model."""
    found = await statistics(stub, version)
    return (
        found.inference_stats.cache_hit.count,
        found.inference_stats.cache_miss.count,
        found.execution_count,
    )


async def test_the_same_question_is_answered_without_a_run(stub: Stub, ask: Ask, targets: list[str]) -> None:
    answers = [await stub.ModelInfer(ask("scaler", 1, 5, id=str(n))) for n in range(5)]
    assert [answer.id for answer in answers] == [str(n) for n in range(5)]
    assert {tuple(values(answer)) for answer in answers} == {(2, 2, 10, 10)}
    assert answers[0].parameters == answers[4].parameters
    assert await counts(stub, targets[0]) == (4, 1, 1)
    found = (await statistics(stub, targets[0])).inference_stats
    assert (found.success.count, found.queue.count, found.compute_infer.count) == (5, 5, 1)
    assert 0 < found.cache_hit.ns <= found.success.ns


async def test_however_it_is_asked(stub: Stub, ask: Ask, targets: list[str]) -> None:
    typed = pb.ModelInferRequest(model_name="scaler")
    typed.inputs.add(
        name="x", datatype="FP32", shape=[1, 2], contents=pb.InferTensorContents(fp32_contents=[3, 3])
    )
    keyed = ask("scaler", 3)
    keyed.parameters["sequence_key"].string_param = "ada"
    ranked = ask("scaler", 3)
    ranked.outputs.add(name="y").parameters["classification"].int64_param = 1
    assert values(await stub.ModelInfer(ask("scaler", 3))) == [6, 6]
    assert [*(await stub.ModelInfer(typed)).outputs[0].contents.fp32_contents] == [6, 6]
    assert values(await stub.ModelInfer(keyed)) == [6, 6]
    assert (await stub.ModelInfer(ranked)).outputs[0].datatype == "BYTES"
    [answer] = [answer async for answer in stub.ModelStreamInfer(iter([ask("scaler", 3, id="mine")]))]
    assert (answer.infer_response.id, values(answer.infer_response)) == ("mine", [6, 6])
    assert await counts(stub, targets[0]) == (4, 1, 1)


async def test_versions_answer_for_themselves(
    stub: Stub, ask: Ask, registry: Registry, targets: list[str]
) -> None:
    for _ in range(2):
        assert values(await stub.ModelInfer(ask("scaler", 1))) == [2, 2]
        assert values(await stub.ModelInfer(ask("scaler", 1, version=targets[1][-1]))) == [3, 3]
    registry.serve("scaler", {targets[0]: 1, targets[1]: 1}, response_cache_bytes=KEPT)

    async def version(key: str) -> str:
        keyed = ask("scaler", 1)
        keyed.parameters["sequence_key"].string_param = key
        response = await stub.ModelInfer(keyed)
        assert values(response) == ([2, 2] if response.model_version == targets[0][-1] else [3, 3])
        return response.model_version

    seen: set[str] = set()
    async with asyncio.timeout(30):
        while len(seen) < 2:
            seen |= {await version(str(key)) for key in range(20)}
    for key in range(20):
        assert await version(str(key)) == await version(str(key))


async def test_failures_are_no_answers(stub: Stub, ask: Ask, targets: list[str]) -> None:
    wrong = ask("scaler", 1)
    wrong.inputs[0].name = "z"
    for _ in range(2):
        with pytest.raises(TensorMismatch), named_errors():
            await stub.ModelInfer(wrong)
    assert await counts(stub, targets[0]) == (0, 0, 0)


async def test_it_is_switched_on_and_off_while_it_serves(
    stub: Stub, ask: Ask, registry: Registry, targets: list[str]
) -> None:
    async def is_on() -> bool:
        config = (await stub.ModelConfig(pb.ModelConfigRequest(name="scaler"))).config
        return config.response_cache.enable

    async def wait_until(on: bool) -> None:
        async with asyncio.timeout(30):
            while await is_on() is not on:
                await asyncio.sleep(0.05)

    assert await is_on()
    await stub.ModelInfer(ask("scaler", 1))
    registry.serve("scaler", {targets[0]: 1, targets[1]: 0})
    await wait_until(False)
    for _ in range(3):
        await stub.ModelInfer(ask("scaler", 1))
    assert await counts(stub, targets[0]) == (0, 1, 4)
    registry.serve("scaler", {targets[0]: 1, targets[1]: 0}, response_cache_bytes=KEPT)
    await wait_until(True)
    for _ in range(3):
        assert values(await stub.ModelInfer(ask("scaler", 1))) == [2, 2]
    assert await counts(stub, targets[0]) == (2, 2, 5)
