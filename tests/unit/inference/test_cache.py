"""What is kept of a model's outputs, for how long, and what counts as the same request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_common.errors import DeadlineExceeded, LeptonError
from lepton_inference.batcher import BatchLimits
from lepton_inference.cache import ResponseCache, begin_key, key_of
from lepton_inference.catalogue import Version
from lepton_inference.deployment import Deployment
from lepton_inference.model import Model, load_model
from lepton_inference.sessions import RuntimeOptions
from lepton_inference.signature import Signature, Tensor
from lepton_inference.tensors import Array


def outputs(value: float, size: int = 100) -> dict[str, Array]:
    return {"y": np.full(size, value, np.float32)}


def test_what_was_kept_is_found() -> None:
    cache = ResponseCache(10_000)
    assert cache.find(b"a") is None
    cache.keep(b"a", outputs(1))
    found = cache.find(b"a")
    assert found is not None and np.array_equal(found["y"], outputs(1)["y"])
    assert cache.find(b"b") is None


def test_what_was_kept_does_not_change() -> None:
    cache = ResponseCache(10_000)
    batch = np.arange(8, dtype=np.float32)
    cache.keep(b"a", {"y": batch[2:4]})
    batch[:] = 0
    found = cache.find(b"a")
    assert found is not None and found["y"].tolist() == [2, 3]
    # It does not hold on to the batch, and nobody can write to it.
    assert found["y"].base is None
    with pytest.raises(ValueError, match="read-only"):
        found["y"][0] = 1


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    cache = ResponseCache(3_500)
    for number in range(3):
        cache.keep(bytes([number]), outputs(number))
    assert cache.find(b"\0") is not None
    cache.keep(b"\3", outputs(3))
    assert [bytes([number]) for number in range(4) if cache.find(bytes([number]))] == [b"\0", b"\2", b"\3"]


def test_it_takes_no_more_than_it_may() -> None:
    cache = ResponseCache(50_000)
    rng = np.random.default_rng(0)
    for number in range(2_000):
        cache.keep(bytes([number % 256]), outputs(number, int(rng.integers(1, 2_000))))
        assert cache.size_bytes <= 50_000
    found = [kept for key in range(256) if (kept := cache.find(bytes([key]))) is not None]
    held = sum(kept["y"].nbytes for kept in found)
    assert 0 < held <= cache.size_bytes
    # What is larger than all of it leaves the rest where it is.
    before = len(cache)
    cache.keep(b"large", outputs(0, 20_000))
    assert cache.find(b"large") is None
    assert len(cache) == before


def test_texts_count_with_their_length() -> None:
    cache = ResponseCache(10_000)
    cache.keep(b"a", {"y": np.array(["x" * 20_000], object)})
    assert cache.find(b"a") is None
    cache.keep(b"b", {"y": np.array(["x" * 2_000], object)})
    assert cache.size_bytes > 2_000


def test_the_same_kept_twice_counts_once() -> None:
    cache = ResponseCache(10_000)
    cache.keep(b"a", outputs(1))
    size = cache.size_bytes
    cache.keep(b"a", outputs(1))
    assert (cache.size_bytes, len(cache)) == (size, 1)


X = np.arange(6, dtype=np.float32)
DIFFERENT = {
    "as it is": {"x": X.reshape(2, 3)},
    "another shape": {"x": X.reshape(3, 2)},
    "another element": {"x": (X + 1).reshape(2, 3)},
    "another sign of zero": {"x": np.array([-0.0, *X[1:]], np.float32).reshape(2, 3)},
    "another name": {"y": X.reshape(2, 3)},
    "two inputs": {"x": X[:3], "y": X[3:]},
    "two inputs that are cut elsewhere": {"x": X[:2], "y": X[2:]},
    "two inputs the other way round": {"x": X[3:], "y": X[:3]},
    "texts": {"x": np.array([["ab", "c"]], object)},
    "texts that are cut elsewhere": {"x": np.array([["a", "bc"]], object)},
}


def test_inputs_that_differ_have_different_keys() -> None:
    assert len({key_of(inputs) for inputs in DIFFERENT.values()}) == len(DIFFERENT)


def test_inputs_that_are_the_same_have_the_same_key() -> None:
    x, y = X.reshape(2, 3), np.array(["a", "b"], object)
    assert key_of({"x": x, "y": y}) == key_of({"y": y.copy(), "x": x.copy()})
    # However they lie in memory.
    assert key_of({"x": x}) == key_of({"x": np.asfortranarray(x)})


@given(st.lists(st.floats(width=32), min_size=1, max_size=6), st.lists(st.integers(0, 255), max_size=6))
def test_a_key_is_made_of_the_bytes_that_are_sent(floats: list[float], octets: list[int]) -> None:
    x, n = np.array(floats, np.float32), np.array(octets, np.uint8)
    digest = begin_key([("x", x.shape), ("n", n.shape)])
    digest.update(n.tobytes())
    digest.update(x.tobytes())
    assert digest.digest() == key_of({"x": x, "n": n})


@pytest.fixture
def models(write_scaler: Callable[[float], Path]) -> list[Model]:
    """One that doubles and one that triples."""
    return [
        load_model(write_scaler(factor), options=RuntimeOptions(threads=1), registered=Signature())
        for factor in (2, 3)
    ]


@pytest.fixture
async def deployment(models: list[Model]) -> AsyncIterator[Deployment]:
    """One that doubles, and keeps what it gives."""
    made = Deployment(Version("models/m/versions/1"))
    made.keep_responses(10_000)
    await made.start(models[0], BatchLimits())
    yield made
    await made.retire()


async def ask(deployment: Deployment, value: float = 1.0) -> float:
    given = await deployment.infer([Tensor("x", "FP32", np.full((1, 2), value, np.float32))])
    return float(given["y"][0, 0])


def counts(deployment: Deployment) -> tuple[int, int, int]:
    """How many requests were answered by the cache, how many were not in it, and how often the model ran."""
    statistics = deployment.statistics
    return (
        statistics.counts().cache_hit.count,
        statistics.counts().cache_miss.count,
        statistics.counts().run_count,
    )


async def test_the_model_runs_once_for_what_is_the_same(deployment: Deployment) -> None:
    assert [await ask(deployment, value) for value in (1, 2, 1, 1, 2)] == [2, 4, 2, 2, 4]
    assert counts(deployment) == (3, 2, 2)
    assert deployment.statistics.counts().success.count == 5
    assert sum(deployment.statistics.counts().total_counts) == 5
    assert deployment.statistics.counts().records == 2
    assert deployment.cache_bytes > 0


async def test_nothing_is_kept_where_nothing_shall_be(deployment: Deployment) -> None:
    await ask(deployment)
    deployment.keep_responses(0)
    assert deployment.cache is None
    assert [await ask(deployment), await ask(deployment)] == [2, 2]
    assert counts(deployment) == (0, 1, 3)


async def test_a_cache_that_changes_its_size_begins_anew(deployment: Deployment) -> None:
    await ask(deployment)
    deployment.keep_responses(10_000)
    await ask(deployment)
    deployment.keep_responses(20_000)
    await ask(deployment)
    assert counts(deployment) == (1, 2, 2)


async def test_another_model_answers_for_itself(deployment: Deployment, models: list[Model]) -> None:
    assert await ask(deployment) == 2
    earlier = deployment.cache
    under_way = asyncio.create_task(ask(deployment, 5))
    await asyncio.sleep(0)
    await deployment.start(models[1], BatchLimits())
    assert await under_way == 10
    # What the earlier model still gave is nowhere to be found.
    assert deployment.cache is not earlier
    assert [await ask(deployment), await ask(deployment, 5)] == [3, 15]


async def test_failures_are_not_kept(deployment: Deployment) -> None:
    expired = [Tensor("x", "FP32", np.ones((1, 2), np.float32))]
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            await deployment.infer(expired, deadline=1.0)
    assert counts(deployment) == (0, 2, 0)
    assert deployment.cache_bytes == 0
    assert await ask(deployment) == 2


async def test_it_ends_with_its_deployment(deployment: Deployment) -> None:
    await ask(deployment)
    await deployment.retire()
    assert deployment.cache is None
    with pytest.raises(LeptonError):
        await ask(deployment)
