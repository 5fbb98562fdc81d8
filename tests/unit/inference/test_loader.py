"""Loading: what is the same is loaded once, what does not fit is refused, what is dropped is given back."""

import asyncio
import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from lepton_common.errors import Overloaded, WrongState
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_inference import memory
from lepton_inference.artifacts import Artifacts
from lepton_inference.catalogue import Catalogue, Endpoint, Execution, Version
from lepton_inference.gpu import Gpu
from lepton_inference.loader import Loader
from lepton_inference.memory import MemoryBudget
from lepton_inference.model import Model
from lepton_inference.sessions import CPU_PROVIDER, RuntimeOptions

Publish = Callable[[int, float], Version]
Write = Callable[..., Path]
ENDPOINT = Endpoint("e", ())
AS_USUAL = Execution()
WIDTH = 2048
WEIGHTS_BYTES = WIDTH * WIDTH * 4


@pytest.fixture(autouse=True)
def as_in_the_server() -> None:
    memory.keep_little()


@pytest.fixture
def new_loader(store: ObjectStore, tmp_path: Path) -> Callable[..., Loader]:
    """A function that makes a loader with a budget in bytes."""

    def make(budget_bytes: int = 0, *, gpu: Gpu | None = None) -> Loader:
        return Loader(
            Artifacts(store, tmp_path / "cache"),
            RuntimeOptions(threads=1),
            gpu=gpu,
            host_memory=MemoryBudget(budget_bytes, in_use=memory.process_bytes),
        )

    return make


@pytest.fixture
def publish_large(store: ObjectStore, write_graph: Write) -> Callable[[int], Version]:
    """A function that stores a version of this number that is `WEIGHTS_BYTES` large."""

    def version(number: int) -> Version:
        weights = np.full((WIDTH, WIDTH), number, np.float32)
        path = write_graph(
            [helper.make_node("MatMul", ["x", "weights"], ["y"])],
            {"x": (TensorProto.FLOAT, ["batch", WIDTH])},
            {"y": (TensorProto.FLOAT, ["batch", WIDTH])},
            {"weights": weights},
        )
        blob = put_blob(store, "models", path.read_bytes())
        return Version(f"models/large/versions/{number}", digest=blob.sha256, files={"model.onnx": blob})

    return version


def endpoint(max_batch_size: int = 1, execution: Execution = AS_USUAL) -> Endpoint:
    return replace(ENDPOINT, max_batch_size=max_batch_size, execution=execution)


async def given_back(loader: Loader) -> None:
    """Waits until the loader has freed what nobody uses any more."""
    gc.collect()
    # Its thread holds what it loaded last until it comes to the next: that is freed after the first.
    for _ in range(2):
        await loader.prune(Catalogue())


def ask(model: Model) -> float:
    return float(model.run({"x": np.ones((1, 2), np.float32)})["y"][0, 0])


async def test_what_runs_in_the_same_way_is_loaded_once(
    new_loader: Callable[..., Loader], publish: Publish
) -> None:
    loader, version = new_loader(), publish(1, 3)
    model = await loader.load(version, endpoint())
    assert await loader.load(version, endpoint(8, Execution(warm_up_runs=3))) is model
    others = [
        await loader.load(version, endpoint(execution=execution))
        for execution in (Execution(threads=2), Execution(instances=2), Execution(provider="cuda"))
    ]
    assert len({id(each) for each in (model, *others)}) == 4
    assert [each.threads for each in others] == [2, 1, 1]
    assert [each.instances for each in others] == [1, 2, 1]
    assert {each.provider for each in others} == {CPU_PROVIDER}
    assert {ask(each) for each in (model, *others)} == {3}


async def test_instances_on_the_cpu_share_a_session(
    new_loader: Callable[..., Loader], publish: Publish
) -> None:
    model = await new_loader().load(publish(1, 3), endpoint(4, Execution(instances=3)))
    assert (model.instances, len(model.sessions)) == (3, 1)
    answers = await asyncio.gather(*(asyncio.to_thread(ask, model) for _ in range(30)))
    assert answers == [3] * 30


async def test_memory_is_measured_and_never_less_than_the_file(
    new_loader: Callable[..., Loader], publish: Publish, publish_large: Callable[[int], Version]
) -> None:
    loader, small, large = new_loader(), publish(1, 3), publish_large(1)
    assert (await loader.load(small, endpoint())).memory_bytes >= small.files["model.onnx"].size_bytes
    model = await loader.load(large, endpoint())
    assert WEIGHTS_BYTES <= model.memory_bytes < 3 * WEIGHTS_BYTES
    # A batch of 2048 records and what becomes of it: as much as the weights, each.
    assert (await loader.load(large, endpoint(2048))) is model
    assert model.memory_bytes >= 1.5 * WEIGHTS_BYTES


async def test_a_file_that_cannot_fit_is_not_even_fetched(
    new_loader: Callable[..., Loader], publish_large: Callable[[int], Version], tmp_path: Path
) -> None:
    with pytest.raises(Overloaded, match=r"models/large/versions/1 needs 16\.8 MB of memory; 9\.0 MB of the"):
        await new_loader(9_000_000).load(publish_large(1), endpoint())
    assert not (tmp_path / "cache").exists()


async def test_what_does_not_fit_when_it_has_run_is_refused_and_given_back(
    new_loader: Callable[..., Loader], publish: Publish, publish_large: Callable[[int], Version]
) -> None:
    # Room for the weights, and not for a batch of 8192 records: 64 MB.
    loader, large = new_loader(2 * WEIGHTS_BYTES), publish_large(1)
    neighbour = await loader.load(publish(1, 3), endpoint())
    memory.trim()
    before = memory.process_bytes()
    with pytest.raises(Overloaded, match="are left") as caught:
        await loader.load(large, endpoint(8192))
    assert int(caught.value.metadata["needed_bytes"]) > 2 * WEIGHTS_BYTES
    await given_back(loader)
    assert memory.process_bytes() < before + WEIGHTS_BYTES / 2
    assert ask(neighbour) == 3
    # What it needs is known now: it is refused before it is loaded, and let in with smaller batches.
    with pytest.raises(Overloaded, match="are left"):
        await loader.load(large, endpoint(8192))
    assert (await loader.load(large, endpoint(1))).memory_bytes >= WEIGHTS_BYTES


async def test_memory_of_a_dropped_model_is_given_back_and_let_to_the_next(
    new_loader: Callable[..., Loader], publish_large: Callable[[int], Version]
) -> None:
    loader = new_loader(2 * WEIGHTS_BYTES)
    versions: Sequence[Version] = [publish_large(number) for number in (1, 2)]
    model: Model | None = await loader.load(versions[0], endpoint())
    with pytest.raises(Overloaded, match="are left"):
        await loader.load(versions[1], endpoint())
    full = memory.process_bytes()
    model = None
    await given_back(loader)
    assert memory.process_bytes() < full - WEIGHTS_BYTES * 0.8
    for number in (1, 0, 1, 0):
        model = await loader.load(versions[number], endpoint())
        model = None
        await given_back(loader)
    assert memory.process_bytes() < full - WEIGHTS_BYTES * 0.8
    assert model is None


async def test_nothing_is_loaded_on_a_gpu_that_is_lost(
    new_loader: Callable[..., Loader], publish: Publish
) -> None:
    gpu = Gpu()
    loader = new_loader(gpu=gpu)
    gpu.lose("CUDA failure 719: unspecified launch failure")
    with pytest.raises(WrongState, match="lost to this server until it starts anew: CUDA failure 719"):
        await loader.load(publish(1, 3), endpoint(execution=Execution(provider="cuda")))
    assert ask(await loader.load(publish(1, 3), endpoint())) == 3
