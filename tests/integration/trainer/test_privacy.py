"""Budgets of privacy: what is refused before it starts, whatever happens in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from lepton.dataset.v1 import dataset_pb2
from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2
from lepton_common.errors import InvalidField, PrivacyBudgetExceeded
from lepton_common.jobs.processes import stop_all
from lepton_common.rpc import named_errors

from .conftest import DIGITS, running
from .programs.quick_worker import BAD, SLOW

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Neighbours, Trainer

# Quick to account for, and with these parameters an epsilon of 0.327.
PRIVATE = training_pb2.Privacy(noise_multiplier=4.0)
EPSILON = 0.327


@pytest.fixture
def budget(neighbours: Neighbours) -> float:
    """The digits have a budget of two trainings and a bit."""
    version = dataset_pb2.DatasetVersion()
    version.CopyFrom(DIGITS)
    version.privacy_budget.epsilon = 2.2 * EPSILON
    neighbours.datasets.versions[DIGITS.name] = version
    return version.privacy_budget.epsilon


async def train(trainer: Trainer, id: str, **spec: Any) -> training_pb2.TrainingJob:
    return await trainer.create(id, **{"privacy": PRIVATE, "max_epochs": 4, **spec})


async def ledger(trainer: Trainer, dataset: str = "datasets/digits") -> training_pb2.PrivacyLedger:
    request = training_pb2.GetPrivacyLedgerRequest(dataset=dataset)
    with named_errors():
        return (await trainer.stub.GetPrivacyLedger(request, timeout=20)).privacy_ledger


async def test_a_private_training_tells_what_it_spends_in_the_job_and_in_the_lineage(
    trainer: Trainer, neighbours: Neighbours
) -> None:
    job = await train(trainer, "private", cnn=training_pb2.Cnn())
    privacy = job.spec.privacy
    assert privacy.epsilon == pytest.approx(EPSILON, abs=0.01)
    assert privacy.delta == 1 / 14370
    assert privacy.clip_norm == 1.0
    assert job.spec.cnn.normalization == training_pb2.NORMALIZATION_GROUP
    assert job.spec.convergence.patience == 0
    assert (await trainer.watch(job))[-1].status.state == job_pb2.JOB_STATE_SUCCEEDED
    (version,) = neighbours.models.versions.values()
    promised, *rest = version.lineage
    assert (promised.privacy.epsilon, promised.privacy.delta) == (privacy.epsilon, privacy.delta)
    assert not any(node.HasField("privacy") for node in rest)


async def test_the_second_that_would_overspend_is_refused_with_how_much_is_left(
    trainer: Trainer, budget: float
) -> None:
    first = await train(trainer, "first")
    with pytest.raises(PrivacyBudgetExceeded) as refused:
        await train(trainer, "second", privacy=training_pb2.Privacy(epsilon=0.5))
    left = budget - first.spec.privacy.epsilon
    assert f"{left:.4g} of {budget:.4g} is left" in refused.value.message
    assert float(refused.value.metadata["epsilon_left"]) == left
    assert float(refused.value.metadata["epsilon_spent"]) == first.spec.privacy.epsilon
    assert 0.49 < float(refused.value.metadata["epsilon_asked"]) <= 0.5
    # What is within the rest is not.
    await train(trainer, "second")
    told = await ledger(trainer)
    assert [each.training_job for each in told.spendings] == ["trainingJobs/first", "trainingJobs/second"]
    assert told.epsilon_spent == pytest.approx(2 * first.spec.privacy.epsilon)
    assert told.epsilon_left == pytest.approx(budget - told.epsilon_spent)


async def test_of_many_at_once_no_more_pass_than_the_budget_holds(trainer: Trainer, budget: float) -> None:
    outcomes = await asyncio.gather(
        *(train(trainer, f"job-{place}") for place in range(6)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(error) for error in refused] == [PrivacyBudgetExceeded] * 4
    assert (await ledger(trainer)).epsilon_spent <= budget


async def test_what_was_spent_is_known_after_a_restart(
    tmp_path: Path, neighbours: Neighbours, trainer: Trainer, budget: float
) -> None:
    first = await train(trainer, "first", seed=SLOW)
    await trainer.at_work(first)
    async with running(tmp_path, neighbours) as other:
        await train(other, "second", seed=SLOW)
        with pytest.raises(PrivacyBudgetExceeded):
            await train(other, "third")
    await asyncio.to_thread(stop_all, tmp_path / "run", grace_seconds=0)


async def test_a_retry_spends_nothing(trainer: Trainer, budget: float) -> None:
    made = [await train(trainer, "first", request_id="r-1") for _ in range(4)]
    assert len({job.uid for job in made}) == 1
    assert len((await ledger(trainer)).spendings) == 1


async def test_what_failed_or_was_deleted_is_spent(trainer: Trainer, budget: float) -> None:
    failed = await train(trainer, "failed", seed=BAD)
    assert (await trainer.watch(failed))[-1].status.state == job_pb2.JOB_STATE_FAILED
    await trainer.delete(failed)
    stopped = await train(trainer, "stopped", seed=SLOW)
    await trainer.at_work(stopped)
    await trainer.cancel(stopped)
    await trainer.watch(stopped)
    with pytest.raises(PrivacyBudgetExceeded):
        await train(trainer, "failed")


async def test_what_was_cancelled_before_it_began_is_given_back(
    tmp_path: Path, neighbours: Neighbours, trainer: Trainer, budget: float
) -> None:
    # Two are at work, which is as many as may be; they are on another dataset.
    other = dataset_pb2.DatasetVersion()
    other.CopyFrom(DIGITS)
    other.name = "datasets/other/versions/1"
    neighbours.datasets.versions[other.name] = other
    for place in range(2):
        await trainer.at_work(await trainer.create(f"busy-{place}", seed=SLOW, dataset_version=other.name))
    waiting = [await train(trainer, f"waiting-{place}") for place in range(2)]
    with pytest.raises(PrivacyBudgetExceeded):
        await train(trainer, "third")
    await trainer.cancel(waiting[0])
    await train(trainer, "third")
    assert len((await ledger(trainer)).spendings) == 2
    # Deleted, it stays given back; the name may be used again.
    await trainer.delete(waiting[0])
    await trainer.cancel(waiting[1])
    again = await train(trainer, "waiting-0")
    assert [each.training_job_uid for each in (await ledger(trainer)).spendings][-1] == again.uid
    assert len((await ledger(trainer)).spendings) == 2


async def test_with_a_budget_a_training_without_privacy_is_refused(trainer: Trainer, budget: float) -> None:
    with pytest.raises(InvalidField, match="privacy: is needed: datasets/digits has a privacy budget"):
        await trainer.create("plain")


async def test_without_a_budget_what_is_spent_is_told_all_the_same(trainer: Trainer) -> None:
    job = await train(trainer, "first")
    told = await ledger(trainer)
    assert told.epsilon_spent == job.spec.privacy.epsilon
    assert not told.HasField("budget")
    assert (await ledger(trainer, "datasets/nothing")).epsilon_spent == 0


async def test_a_budget_counts_all_versions_of_a_dataset(
    trainer: Trainer, neighbours: Neighbours, budget: float
) -> None:
    newer = dataset_pb2.DatasetVersion()
    newer.CopyFrom(neighbours.datasets.versions[DIGITS.name])
    newer.name = "datasets/digits/versions/4"
    neighbours.datasets.versions[newer.name] = newer
    for place, version in enumerate((DIGITS.name, newer.name)):
        await train(trainer, f"job-{place}", dataset_version=version)
    with pytest.raises(PrivacyBudgetExceeded):
        await train(trainer, "third", dataset_version=newer.name)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"privacy": training_pb2.Privacy()}, "must say epsilon or noise_multiplier"),
        ({"xla": True}, "xla: cannot compile"),
        ({"privacy": training_pb2.Privacy(noise_multiplier=0.1)}, "noise_multiplier: must be at least 0.25"),
        ({"precision": training_pb2.PRECISION_FLOAT16}, "must be float32 or bfloat16"),
        ({"balance_classes": True}, "would tell how many records a class has"),
        ({"convergence": training_pb2.Convergence(patience=3)}, "runs all its epochs"),
        ({"cnn": training_pb2.Cnn(normalization=training_pb2.NORMALIZATION_BATCH)}, "must be group"),
        (
            {
                "keras_config": training_pb2.KerasConfig(
                    json='{"module": "keras", "class_name": "Sequential", "config": {"layers": [{"module": '
                    '"keras.layers", "class_name": "BatchNormalization", "config": {"name": "b"}}]}}'
                )
            },
            "must not have batch normalisation",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_would_not_be_private_is_refused(
    trainer: Trainer, spec: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidField, match=text):
        await train(trainer, "refused", **spec)
    assert not (await ledger(trainer)).spendings
