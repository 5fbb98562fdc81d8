"""What is served, from the registry's word to the answer: loading, swapping, failing, unloading."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lepton_common.errors import (
    DependencyUnavailable,
    InvalidField,
    LeptonError,
    NotFound,
    ShuttingDown,
    WrongState,
)
from lepton_common.objects import ObjectStore
from lepton_inference.artifacts import Artifacts
from lepton_inference.batcher import BatchLimits
from lepton_inference.catalogue import (
    Catalogue,
    Endpoint,
    Execution,
    Version,
    check_model_name,
    check_model_version,
)
from lepton_inference.deployment import Deployment, State
from lepton_inference.loader import Loader
from lepton_inference.memory import MemoryBudget
from lepton_inference.model import Model
from lepton_inference.repository import Repository
from lepton_inference.routing import Route
from lepton_inference.sessions import RuntimeOptions
from lepton_inference.signature import Signature, Tensor, TensorSpec

Publish = Callable[[int, float], Version]
AS_USUAL = Execution()


@pytest.fixture
async def loader(store: ObjectStore, tmp_path: Path) -> Loader:
    return Loader(Artifacts(store, tmp_path / "cache"), RuntimeOptions(threads=1))


@pytest.fixture
async def repository(loader: Loader) -> AsyncIterator[Repository]:
    repository = Repository(loader.load, limits=BatchLimits())
    yield repository
    await repository.drain()


def catalogue(
    *weights: tuple[Version, int], max_batch_size: int = 32, execution: Execution = AS_USUAL
) -> Catalogue:
    """Endpoint `e` with these versions and their weights."""
    routes = tuple(Route(version.name, weight) for version, weight in weights)
    endpoint = Endpoint("e", routes, max_batch_size=max_batch_size, execution=execution)
    return Catalogue((endpoint,), {version.name: version for version, _ in weights})


async def settle(repository: Repository) -> None:
    """Waits until nothing is being loaded any more."""
    async with asyncio.timeout(30):
        while any(deployment.is_pending for _, deployment in repository.deployments()):
            repository.changed.clear()
            await repository.changed.wait()


async def ask(deployment: Deployment, value: float = 1.0) -> float:
    outputs = await deployment.infer([Tensor("x", "FP32", np.full((1, 2), value, np.float32))])
    return float(outputs["y"][0, 0])


async def serve(repository: Repository, *weights: tuple[Version, int]) -> None:
    repository.apply(catalogue(*weights))
    await settle(repository)


def states(repository: Repository) -> dict[str, State]:
    return {status.version[-1]: status.state for status in repository.report()["e"]}


async def test_a_version_answers_when_it_is_loaded(repository: Repository, publish: Publish) -> None:
    assert not repository.is_ready
    repository.apply(catalogue((publish(1, 3), 1)))
    with pytest.raises(DependencyUnavailable, match="still being loaded"):
        await ask(repository.endpoint("e").find())
    assert not repository.is_ready
    await settle(repository)
    assert repository.is_ready
    assert await ask(repository.endpoint("e").find()) == 3
    (status,) = repository.report()["e"]
    assert (status.state, status.provider) == (State.READY, "CPUExecutionProvider")


async def test_a_server_with_nothing_to_serve_is_ready(repository: Repository) -> None:
    repository.apply(Catalogue())
    assert repository.is_ready


async def test_what_is_not_served_is_not_found(repository: Repository, publish: Publish) -> None:
    await serve(repository, (publish(1, 3), 1))
    with pytest.raises(NotFound, match="no endpoint is named 'other'"):
        repository.endpoint("other")
    with pytest.raises(NotFound, match="version 7 of 'e' is not served; served are 1"):
        repository.endpoint("e").find("7")


async def test_a_version_can_be_named_also_without_a_share(repository: Repository, publish: Publish) -> None:
    await serve(repository, (publish(1, 3), 1), (publish(2, 5), 0))
    endpoint = repository.endpoint("e")
    assert {await ask(endpoint.find()) for _ in range(20)} == {3}
    assert await ask(endpoint.find("2")) == 5


async def test_without_any_share_a_version_must_be_named(repository: Repository, publish: Publish) -> None:
    await serve(repository, (publish(1, 3), 0))
    with pytest.raises(WrongState, match="name one"):
        repository.endpoint("e").find()


async def test_a_key_keeps_its_version(repository: Repository, publish: Publish) -> None:
    await serve(repository, (publish(1, 3), 1), (publish(2, 5), 1))
    endpoint = repository.endpoint("e")
    assert {await ask(endpoint.find()) for _ in range(60)} == {3, 5}
    assert len({await ask(endpoint.find(key="ada")) for _ in range(20)}) == 1


async def test_a_new_version_takes_over_without_a_failure(repository: Repository, publish: Publish) -> None:
    first, second = publish(1, 3), publish(2, 5)
    await serve(repository, (first, 1))
    answers: list[float] = []

    async def keep_asking() -> None:
        while 5 not in answers:
            answers.append(await ask(repository.endpoint("e").find()))

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep_asking())
        await asyncio.sleep(0)
        repository.apply(catalogue((second, 1)))
    assert set(answers) == {3, 5}
    assert states(repository) == {"2": State.READY}


async def test_several_new_versions_take_over_together(
    repository: Repository, publish: Publish, store: ObjectStore
) -> None:
    first, canary, rest = publish(1, 3), publish(2, 5), publish(3, 7)
    await serve(repository, (first, 1))
    repository.apply(catalogue((canary, 1), (rest, 99)))
    endpoint = repository.endpoint("e")
    while endpoint.find("2").state is State.LOADING:
        assert await ask(endpoint.find()) == 3
    await settle(repository)
    assert {await ask(endpoint.find()) for _ in range(20)} <= {5, 7}


async def test_a_version_that_fails_leaves_the_old_one_serving(
    repository: Repository, publish: Publish
) -> None:
    good = publish(1, 3)
    contradicted = replace(publish(2, 5), signature=Signature(inputs=(TensorSpec("x", "FP32", (-1, 9)),)))
    await serve(repository, (good, 1))
    await serve(repository, (contradicted, 1))
    assert await ask(repository.endpoint("e").find()) == 3
    assert states(repository) == {"1": State.READY, "2": State.FAILED}
    with pytest.raises(WrongState, match="could not be loaded: the inputs of the graph are"):
        await ask(repository.endpoint("e").find("2"))
    assert repository.is_ready


async def test_the_version_that_answers_stays_through_all_that_fail(
    repository: Repository, publish: Publish
) -> None:
    wrong = Signature(inputs=(TensorSpec("x", "FP32", (-1, 9)),))
    first, fourth = publish(1, 3), publish(4, 7)
    second, third = (replace(publish(number, 5), signature=wrong) for number in (2, 3))
    await serve(repository, (first, 1))
    await serve(repository, (second, 1), (first, 0))
    await serve(repository, (third, 1), (second, 0))
    assert await ask(repository.endpoint("e").find()) == 3
    assert states(repository) == {"1": State.READY, "2": State.FAILED, "3": State.FAILED}
    await serve(repository, (fourth, 1), (third, 0))
    assert await ask(repository.endpoint("e").find()) == 7
    assert states(repository) == {"3": State.FAILED, "4": State.READY}


async def test_a_version_that_is_gone_answers_until_the_one_before_is_loaded_again(
    loader: Loader, publish: Publish
) -> None:
    first, second = publish(1, 3), publish(2, 5)
    opened = asyncio.Event()

    async def load(version: Version, endpoint: Endpoint) -> Model:
        if version == first:
            await opened.wait()
        return await loader.load(version, endpoint)

    repository = Repository(load, limits=BatchLimits())
    await serve(repository, (second, 1))
    repository.apply(catalogue((first, 1)))
    await loader.prune(catalogue((first, 1)))
    assert states(repository) == {"1": State.LOADING, "2": State.READY}
    assert await ask(repository.endpoint("e").find()) == 5
    opened.set()
    await settle(repository)
    assert await ask(repository.endpoint("e").find()) == 3
    assert states(repository) == {"1": State.READY}
    await repository.drain()


@pytest.mark.parametrize("follows", [True, False], ids=["followed", "named"])
async def test_an_older_version_stands_in_where_a_model_is_followed(
    repository: Repository, publish: Publish, follows: bool
) -> None:
    wrong = Signature(inputs=(TensorSpec("x", "FP32", (-1, 9)),))
    broken = replace(publish(3, 5), signature=wrong)
    told = catalogue((broken, 1), (publish(2, 3), 0), (publish(1, 7), 0))
    (endpoint,) = told.endpoints
    repository.apply(replace(told, endpoints=(replace(endpoint, follows=follows),)))
    await settle(repository)
    assert states(repository) == {"3": State.FAILED, "2": State.READY, "1": State.READY}
    if follows:
        assert await ask(repository.endpoint("e").find()) == 3
    else:
        with pytest.raises(WrongState, match="could not be loaded"):
            await ask(repository.endpoint("e").find())


async def test_what_stood_in_makes_way_for_the_newest_once_that_is_loaded(
    repository: Repository, publish: Publish, store: ObjectStore
) -> None:
    newest = publish(2, 5)
    blob = newest.files["model.onnx"]
    content = store.get(blob.key)
    store.put(blob.key, b"damaged")
    told = catalogue((newest, 1), (publish(1, 3), 0))
    (endpoint,) = told.endpoints
    repository.apply(replace(told, endpoints=(replace(endpoint, follows=True),)))
    await settle(repository)
    assert await ask(repository.endpoint("e").find()) == 3
    store.put(blob.key, content)
    await repository.endpoint("e").load()
    assert await ask(repository.endpoint("e").find()) == 5


async def test_a_server_on_which_everything_failed_is_not_ready(repository: Repository) -> None:
    await serve(repository, (Version("models/m/versions/1"), 1))
    assert not repository.is_ready
    with pytest.raises(WrongState, match="is not in the registry"):
        await ask(repository.endpoint("e").find())


async def test_only_onnx_is_served(repository: Repository, publish: Publish) -> None:
    await serve(repository, (replace(publish(1, 3), is_onnx=False), 1))
    (status,) = repository.report()["e"]
    assert "is not stored as ONNX" in status.reason


async def test_weights_change_without_loading(repository: Repository, publish: Publish) -> None:
    first, second = publish(1, 3), publish(2, 5)
    await serve(repository, (first, 1), (second, 0))
    repository.apply(catalogue((first, 0), (second, 1)))
    assert await ask(repository.endpoint("e").find()) == 5


async def test_batching_changes_without_loading(repository: Repository, publish: Publish) -> None:
    version = publish(1, 3)
    await serve(repository, (version, 1))
    model = repository.endpoint("e").find().model
    repository.apply(catalogue((version, 1), max_batch_size=7))
    async with asyncio.timeout(30):
        while repository.endpoint("e").find().limits.max_batch_size != 7:
            assert await ask(repository.endpoint("e").find()) == 3
    assert repository.endpoint("e").find().model is model
    assert await ask(repository.endpoint("e").find()) == 3


async def asked_until(repository: Repository, condition: Callable[[], bool]) -> list[float]:
    """Asks four at a time until a condition holds, and gives the answers; none may fail."""
    answers: list[float] = []

    async def keep_asking() -> None:
        while not condition():
            answers.append(await ask(repository.endpoint("e").find()))

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep_asking())
    return answers


async def test_a_version_that_is_to_run_otherwise_is_swapped_without_a_failure(
    repository: Repository, publish: Publish
) -> None:
    version = publish(1, 3)
    await serve(repository, (version, 1))
    earlier = repository.endpoint("e").find().model
    repository.apply(catalogue((version, 1), execution=Execution(instances=3, threads=2)))
    assert states(repository) == {"1": State.READY}
    answers = await asked_until(repository, lambda: repository.endpoint("e").find().model is not earlier)
    assert {*answers} == {3}
    model = repository.endpoint("e").find().model
    assert (model.instances, model.threads) == (3, 2)
    assert await ask(repository.endpoint("e").find()) == 3


async def test_a_version_made_anew_that_fails_leaves_the_old_one_serving(
    repository: Repository, publish: Publish
) -> None:
    good = publish(1, 3)
    broken = replace(publish(1, 5), signature=Signature(inputs=(TensorSpec("x", "INT64", (-1, 2)),)))
    await serve(repository, (good, 1))
    repository.apply(catalogue((broken, 1)))
    endpoint = repository.endpoint("e")
    answers = await asked_until(repository, lambda: bool(endpoint.find().reason))
    assert {*answers} == {3}
    (status,) = repository.report()["e"]
    assert status.state is State.READY
    assert status.reason.startswith("goes on as before: the inputs of the graph are x FP32")
    repository.apply(catalogue((good, 1)))
    await asked_until(repository, lambda: not endpoint.find().reason)


async def test_a_swap_that_is_overtaken_ends_with_what_is_wanted_last(
    repository: Repository, publish: Publish
) -> None:
    version = publish(1, 3)
    await serve(repository, (version, 1))
    for threads in (2, 3, 4):
        repository.apply(catalogue((version, 1), execution=Execution(threads=threads)))
        await asyncio.sleep(0)
    endpoint = repository.endpoint("e")
    answers = await asked_until(repository, lambda: endpoint.find().model.threads == 4)
    assert {*answers} <= {3}


async def test_a_version_that_does_not_fit_is_refused_and_comes_when_there_is_room(
    publish: Publish, store: ObjectStore, tmp_path: Path
) -> None:
    # Of memory that nobody uses, so that the files alone count: there is room for one and a half.
    first, second = publish(1, 3), publish(2, 5)
    size = first.files["model.onnx"].size_bytes
    loader = Loader(
        Artifacts(store, tmp_path / "cache"),
        RuntimeOptions(threads=1),
        host_memory=MemoryBudget(size * 3 // 2, in_use=lambda: 0),
    )
    repository = Repository(loader.load, limits=BatchLimits())
    await serve(repository, (first, 1), (second, 0))
    assert states(repository) == {"1": State.READY, "2": State.FAILED}
    (_, refused) = repository.report()["e"]
    assert "models/scaler/versions/2 needs" in refused.reason
    assert "are left" in refused.reason
    assert await ask(repository.endpoint("e").find()) == 3
    # In place of the first it does not fit either: that answers on.
    await serve(repository, (second, 1))
    assert await ask(repository.endpoint("e").find()) == 3
    other = Endpoint("f", (Route(second.name, 1),))
    repository.apply(Catalogue((other,), {second.name: second}))
    async with asyncio.timeout(60):
        while repository.endpoint("f").find().state is not State.READY:
            repository.changed.clear()
            await repository.changed.wait()
    assert await ask(repository.endpoint("f").find()) == 5
    await repository.drain()


async def test_a_version_of_two_endpoints_is_loaded_once(repository: Repository, publish: Publish) -> None:
    version = publish(1, 3)
    (endpoint,) = catalogue((version, 1)).endpoints
    repository.apply(Catalogue((endpoint, replace(endpoint, name="f")), {version.name: version}))
    await settle(repository)
    assert repository.endpoint("e").find().model is repository.endpoint("f").find().model


async def test_the_same_bytes_registered_otherwise_are_loaded_anew(
    repository: Repository, publish: Publish
) -> None:
    good = publish(1, 3)
    other = replace(good, name="models/scaler/versions/2", signature=Signature(classes=("no", "yes")))
    wrong = replace(
        good,
        name="models/scaler/versions/3",
        signature=Signature(inputs=(TensorSpec("x", "INT64", (-1, 2)),)),
    )
    await serve(repository, (good, 1))
    await serve(repository, (good, 1), (other, 1), (wrong, 1))
    assert states(repository) == {"1": State.READY, "2": State.READY, "3": State.FAILED}
    assert repository.endpoint("e").find("2").model.signature.classes == ("no", "yes")


async def test_an_endpoint_that_is_gone_answers_what_it_had_taken(
    repository: Repository, publish: Publish
) -> None:
    await serve(repository, (publish(1, 3), 1))
    deployment = repository.endpoint("e").find()
    asked = asyncio.create_task(ask(deployment))
    await asyncio.sleep(0)
    repository.apply(Catalogue())
    assert await asked == 3
    with pytest.raises(NotFound):
        repository.endpoint("e")
    with pytest.raises(LeptonError):
        await ask(deployment)


async def test_a_version_made_anew_under_its_old_name_is_loaded_anew(
    repository: Repository, publish: Publish
) -> None:
    await serve(repository, (publish(1, 3), 1))
    repository.apply(catalogue((publish(1, 5), 1)))
    answers: list[float] = []
    async with asyncio.timeout(30):
        while not answers or answers[-1] != 5:
            answers.append(await ask(repository.endpoint("e").find()))
    assert {*answers} == {3, 5}


async def test_unloading_holds_until_loading(repository: Repository, publish: Publish) -> None:
    version = publish(1, 3)
    await serve(repository, (version, 1))
    endpoint = repository.endpoint("e")
    await endpoint.unload()
    repository.apply(catalogue((version, 2)))
    with pytest.raises(WrongState, match="unloaded on this server by request"):
        endpoint.find()
    assert states(repository) == {"1": State.FAILED}
    await endpoint.load()
    assert await ask(endpoint.find()) == 3


async def test_loading_tries_again_what_had_failed(
    repository: Repository, publish: Publish, store: ObjectStore
) -> None:
    version = publish(1, 3)
    blob = version.files["model.onnx"]
    content = store.get(blob.key)
    store.put(blob.key, b"damaged")
    await serve(repository, (version, 1))
    with pytest.raises(WrongState, match="does not have the content"):
        await repository.endpoint("e").load()
    store.put(blob.key, content)
    await repository.endpoint("e").load()
    assert await ask(repository.endpoint("e").find()) == 3


async def test_loading_tries_again_what_could_not_take_the_place_of_another(
    repository: Repository, publish: Publish, store: ObjectStore
) -> None:
    await serve(repository, (publish(1, 3), 1))
    made_anew = publish(1, 5)
    blob = made_anew.files["model.onnx"]
    content = store.get(blob.key)
    store.put(blob.key, b"damaged")
    repository.apply(catalogue((made_anew, 1)))
    endpoint = repository.endpoint("e")
    await asked_until(repository, lambda: bool(endpoint.find().reason))
    with pytest.raises(WrongState, match=r"versions/1 goes on as before: .* does not have"):
        await endpoint.load()
    assert await ask(endpoint.find()) == 3
    store.put(blob.key, content)
    await endpoint.load()
    assert await ask(endpoint.find()) == 5


async def test_a_store_that_is_away_is_asked_again(loader: Loader, publish: Publish) -> None:
    away = [DependencyUnavailable("the object store could not be read")]

    async def load(version: Version, endpoint: Endpoint) -> Model:
        if away:
            raise away.pop()
        return await loader.load(version, endpoint)

    repository = Repository(load, limits=BatchLimits())
    await serve(repository, (publish(1, 3), 1))
    (status,) = repository.report()["e"]
    assert (status.state, status.reason) == (State.LOADING, "the object store could not be read")
    async with asyncio.timeout(30):
        while states(repository) != {"1": State.READY}:
            repository.changed.clear()
            await repository.changed.wait()
    await repository.drain()


async def test_after_a_drain_nothing_is_taken(repository: Repository, publish: Publish) -> None:
    await serve(repository, (publish(1, 3), 1))
    deployment = repository.endpoint("e").find()
    await repository.drain()
    with pytest.raises(ShuttingDown):
        await ask(deployment)


@pytest.mark.parametrize("name", ["", "../e", "E", "a" * 64, "e-", "e/f", "é", "e\n"])
def test_a_name_that_no_endpoint_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidField):
        check_model_name(name)


@pytest.mark.parametrize("version", ["latest", "-1", "1.0", "1" * 19, "٣"])
def test_a_version_that_is_no_number_is_refused(version: str) -> None:
    with pytest.raises(InvalidField):
        check_model_version(version)
