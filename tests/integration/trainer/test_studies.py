"""Studies over gRPC: a real server, real workers whose best settings are known."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2
from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import (
    AlreadyExists,
    EtagMismatch,
    InUse,
    InvalidField,
    InvalidModel,
    LeptonError,
    NotFound,
    SchemaViolation,
    WrongState,
)
from lepton_common.jobs.processes import stop_all
from lepton_common.rpc import named_errors
from lepton_common.status import from_status

from .conftest import DIGITS, running
from .programs.known_optimum import loss

if TYPE_CHECKING:
    from .conftest import Neighbours, Trainer

RATE = {"path": "optimizer.learning_rate", "real": {"min": 1e-4, "max": 1, "log": True}}
SIZE = {"path": "batch_size", "integer": {"min": 16, "max": 128, "step": 16}}


def rates(*values: float) -> dict[str, Any]:
    return {"path": "optimizer.learning_rate", "choice": {"values": list(values)}}


@dataclass(frozen=True)
class Searcher:
    """Short ways to use a trainer's studies."""

    trainer: Trainer

    async def create(
        self,
        *parameters: dict[str, Any],
        id: str = "digits",
        training: dict[str, Any] | None = None,
        request_id: str = "",
        labels: dict[str, str] | None = None,
        **spec: Any,
    ) -> study_pb2.Study:
        """Search for the best MLP of three epochs on the digits, where `spec` does not say otherwise."""
        base = {"dataset_version": DIGITS.name, "model": "models/digits", "mlp": {}, "max_epochs": 3}
        document = {"training": {**base, **(training or {})}, "parameters": list(parameters), **spec}
        request = study_pb2.CreateStudyRequest(
            study_id=id,
            study=study_pb2.Study(spec=ParseDict(document, study_pb2.StudySpec()), labels=labels),
            request_id=request_id,
        )
        with named_errors():
            return (await self.trainer.studies.CreateStudy(request, timeout=30)).study

    async def get(self, name: str = "studies/digits") -> study_pb2.Study:
        """Read a study."""
        with named_errors():
            return (await self.trainer.studies.GetStudy(study_pb2.GetStudyRequest(name=name))).study

    async def watch(self, name: str = "studies/digits") -> list[study_pb2.Study]:
        """Watch a study to its end."""
        request = study_pb2.WatchStudyRequest(name=name)
        with named_errors():
            return [seen.study async for seen in self.trainer.studies.WatchStudy(request, timeout=240)]

    async def until(self, running: int) -> study_pb2.Study:
        """Wait until so many trials are at work at once."""
        request = study_pb2.WatchStudyRequest(name="studies/digits")
        async for seen in self.trainer.studies.WatchStudy(request, timeout=240):
            at_work = [
                trial
                for trial in seen.study.trials
                if trial.state == study_pb2.TRIAL_STATE_RUNNING and trial.HasField("start_time")
            ]
            if len(at_work) == running:
                return seen.study
        raise AssertionError("the study ended before")

    async def cancel(self, name: str = "studies/digits") -> study_pb2.Study:
        """Cancel a study."""
        with named_errors():
            return (await self.trainer.studies.CancelStudy(study_pb2.CancelStudyRequest(name=name))).study

    async def delete(self, name: str = "studies/digits", *, etag: str = "") -> None:
        """Delete a study."""
        with named_errors():
            request = study_pb2.DeleteStudyRequest(name=name, etag=etag)
            await self.trainer.studies.DeleteStudy(request, timeout=60)

    async def jobs(self) -> list[training_pb2.TrainingJob]:
        """All training jobs, oldest first."""
        listed = await self.trainer.stub.ListTrainingJobs(training_pb2.ListTrainingJobsRequest())
        return [*listed.training_jobs][::-1]


@pytest.fixture
async def searcher(
    tmp_path: Path, neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Searcher]:
    """A trainer with an empty store, whose workers have a known optimum."""
    programs = str(Path(__file__).parent / "programs")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([programs, os.environ.get("PYTHONPATH", "")]))
    async with running(tmp_path, neighbours, worker="known_optimum") as trainer:
        yield Searcher(trainer)
    await asyncio.to_thread(stop_all, tmp_path / "run", grace_seconds=0)


def states(study: study_pb2.Study) -> list[str]:
    return [study_pb2.TrialState.Name(trial.state).removeprefix("TRIAL_STATE_") for trial in study.trials]


def parameters(trial: study_pb2.Trial) -> dict[str, Any]:
    return {path: MessageToDict(value) for path, value in trial.parameters.items()}


async def test_a_study_ends_with_its_best_trial_registered_alone(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    created = await searcher.create(RATE, SIZE, trials=6, parallel_trials=2, labels={"team": "a"})
    assert created.status.state == job_pb2.JOB_STATE_QUEUED
    ended = (await searcher.watch())[-1]
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert states(ended) == ["SUCCEEDED"] * 6
    assert [trial.number for trial in ended.trials] == [*range(1, 7)]

    # Each trial was trained with its parameters, and counts with the epoch whose weights were kept.
    jobs = await searcher.jobs()
    assert [job.name for job in jobs] == [f"trainingJobs/digits-{number}" for number in range(1, 7)]
    for job, trial in zip(jobs, ended.trials, strict=True):
        rate, size = job.spec.optimizer.learning_rate, job.spec.batch_size
        assert parameters(trial) == {"optimizer.learning_rate": rate, "batch_size": size}
        assert trial.epoch == 2
        assert trial.value == pytest.approx(loss(rate, size))
        assert trial.training_job == job.name
        assert dict(job.labels) == {
            "team": "a",
            "lepton.dev/study": "digits",
            "lepton.dev/trial": str(trial.number),
        }
        assert (job.study, job.model_version) == ("studies/digits", "")
        assert trial.end_time.ToNanoseconds() > trial.start_time.ToNanoseconds() > 0

    best = min(ended.trials, key=lambda trial: trial.value)
    assert ended.best_trial == best.number
    assert sum(ended.importances.values()) == pytest.approx(1)
    assert (ended.status.progress.done, ended.status.progress.total) == (6, 6)
    series = {each.name: {point.step: point.value for point in each.points} for each in ended.status.metrics}
    assert series["value"] == {trial.number: trial.value for trial in ended.trials}
    assert series["best_value"][6] == best.value

    (version,) = neighbours.models.versions.values()
    assert ended.model_version == version.name == "models/digits/versions/1"
    weights = next(file for file in version.files if file.path == "model.keras")
    assert weights.key == f"models/blobs/{weights.sha256}"
    found = parameters(best)
    assert searcher.trainer.objects.get(weights.key).decode() == (
        f"{found['optimizer.learning_rate']} {int(found['batch_size'])}"
    )
    assert list(version.parents) == ["studies/digits"]
    assert [(node.name, node.kind, list(node.parents)) for node in version.lineage[:3]] == [
        ("studies/digits", model_pb2.LINEAGE_KIND_STUDY, [best.training_job]),
        (best.training_job, model_pb2.LINEAGE_KIND_TRAINING_JOB, [DIGITS.name]),
        (DIGITS.name, model_pb2.LINEAGE_KIND_DATASET_VERSION, ["digits.npz"]),
    ]


async def test_one_at_a_time_the_same_seed_gives_the_same_trials(searcher: Searcher) -> None:
    found = []
    for id in ("one", "two"):
        await searcher.create(RATE, SIZE, id=id, trials=4, seed=5)
        ended = (await searcher.watch(f"studies/{id}"))[-1]
        found.append([parameters(trial) for trial in ended.trials])
    assert found[0] == found[1]


async def test_a_grid_is_searched_to_its_end(searcher: Searcher) -> None:
    sizes = {"path": "batch_size", "choice": {"values": [64, 96]}}
    study = await searcher.create(rates(0.01, 0.1), sizes, sampler="SAMPLER_GRID", parallel_trials=2)
    assert study.spec.trials == 4
    ended = (await searcher.watch())[-1]
    assert len({str(parameters(trial)) for trial in ended.trials}) == 4
    assert ended.trials[ended.best_trial - 1].value == pytest.approx(0)


async def test_trials_that_fall_behind_are_given_up(searcher: Searcher, neighbours: Neighbours) -> None:
    # A step size of 1 never ends by itself; those of 0.01 are all alike, so none is worse than the others.
    await searcher.create(
        rates(0.01, 1),
        training={"convergence": {"patience": 0}},
        trials=6,
        parallel_trials=2,
        seed=1,
        median={"startup_trials": 1},
    )
    ended = (await searcher.watch())[-1]
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    jobs = {job.name: job.status.state for job in await searcher.jobs()}
    for trial in ended.trials:
        bad = parameters(trial)["optimizer.learning_rate"] == 1
        assert trial.state == (study_pb2.TRIAL_STATE_PRUNED if bad else study_pb2.TRIAL_STATE_SUCCEEDED)
        assert trial.HasField("value")
        cancelled = jobs[trial.training_job] == job_pb2.JOB_STATE_CANCELLED
        assert cancelled is bad
    assert {"PRUNED", "SUCCEEDED"} == set(states(ended))
    assert len(neighbours.models.versions) == 1


async def test_a_failed_trial_does_not_end_the_search(searcher: Searcher) -> None:
    await searcher.create(rates(0.01, 99), sampler="SAMPLER_GRID")
    ended = (await searcher.watch())[-1]
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert sorted(states(ended)) == ["FAILED", "SUCCEEDED"]
    (failed,) = [trial for trial in ended.trials if trial.state == study_pb2.TRIAL_STATE_FAILED]
    assert (failed.reason, failed.message) == ("INVALID_MODEL", "the training diverges")


async def test_when_the_first_trials_all_fail_alike_the_study_does(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    await searcher.create({"path": "optimizer.learning_rate", "real": {"min": 20, "max": 90}}, trials=9)
    ended = (await searcher.watch())[-1]
    assert ended.status.state == job_pb2.JOB_STATE_FAILED
    error = from_status(ended.status.error)
    assert isinstance(error, InvalidModel)
    assert error.message == "all of the first 3 trials failed: the training diverges"
    assert states(ended) == ["FAILED"] * 3
    assert not neighbours.models.versions


async def test_a_metric_that_nobody_measures_is_told_with_those_that_are_there(searcher: Searcher) -> None:
    await searcher.create(RATE, trials=1, objective={"metric": "validation_f1"})
    ended = (await searcher.watch())[-1]
    error = from_status(ended.status.error)
    assert isinstance(error, SchemaViolation)
    assert "did not measure 'validation_f1'; it measured loss, validation_loss" in error.message


async def test_a_cancelled_study_stops_its_trials_and_registers_nothing(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    await searcher.create(
        rates(0.5, 1), training={"convergence": {"patience": 0}}, trials=9, parallel_trials=2
    )
    await searcher.until(running=2)
    with pytest.raises(WrongState, match="has not ended"):
        await searcher.delete()
    assert (await searcher.cancel()).status.state == job_pb2.JOB_STATE_CANCELLING
    ended = (await searcher.watch())[-1]
    assert ended.status.state == job_pb2.JOB_STATE_CANCELLED
    assert states(ended) == ["CANCELLED"] * 2
    assert {job.status.state for job in await searcher.jobs()} == {job_pb2.JOB_STATE_CANCELLED}
    assert await searcher.cancel() == ended
    assert not neighbours.models.versions


async def test_when_its_time_is_over_a_study_ends_with_its_best(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    # One of two does not end by itself.
    await searcher.create(
        rates(0.01, 1),
        training={"convergence": {"patience": 0}},
        sampler="SAMPLER_GRID",
        parallel_trials=2,
        timeout_seconds=15,
    )
    ended = (await searcher.watch())[-1]
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert sorted(states(ended)) == ["CANCELLED", "SUCCEEDED"]
    assert len(neighbours.models.versions) == 1


async def test_a_study_waits_for_the_registry_and_registers_once(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    await neighbours.stop("models")
    await searcher.create(RATE, trials=1)
    messages: set[str] = set()
    async for seen in searcher.trainer.studies.WatchStudy(
        study_pb2.WatchStudyRequest(name="studies/digits"), timeout=120
    ):
        if seen.study.status.message and not messages:
            messages.add(seen.study.status.message)
            await neighbours.start("models")
    assert messages == {"waiting: the registry does not answer: make sure that it runs, then try again"}
    assert (await searcher.get()).status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert len(neighbours.models.versions) == 1


async def test_a_deleted_study_takes_its_trials_along_and_leaves_its_model(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    await searcher.create(RATE, trials=2)
    ended = (await searcher.watch())[-1]
    with pytest.raises(InUse, match="delete the study"):
        await searcher.trainer.delete(training_pb2.TrainingJob(name="trainingJobs/digits-1"))
    with pytest.raises(EtagMismatch):
        await searcher.delete(etag="1")
    await searcher.delete(etag=ended.etag)
    with pytest.raises(NotFound):
        await searcher.get()
    assert await searcher.jobs() == []
    assert searcher.trainer.objects.list("jobs") == []
    (version,) = neighbours.models.versions.values()
    keys = {file.key for file in version.files}
    assert {info.key for info in searcher.trainer.objects.list("models")} == keys


async def test_a_job_of_somebody_else_is_neither_taken_nor_deleted(searcher: Searcher) -> None:
    own = await searcher.trainer.create("digits-1", labels={"lepton.dev/study": "digits"})
    await searcher.create(RATE, trials=2)
    ended = (await searcher.watch())[-1]
    assert states(ended) == ["FAILED", "SUCCEEDED"]
    assert "exists already" in ended.trials[0].message
    await searcher.delete()
    assert [job.uid for job in await searcher.jobs()] == [own.uid]


async def test_two_replicas_make_every_trial_once(
    searcher: Searcher, neighbours: Neighbours, tmp_path: Path
) -> None:
    async with running(tmp_path, neighbours, worker="known_optimum"):
        await searcher.create(RATE, trials=5, parallel_trials=2)
        ended = (await searcher.watch())[-1]
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert states(ended) == ["SUCCEEDED"] * 5
    assert len(await searcher.jobs()) == 5
    assert {job.status.attempt for job in await searcher.jobs()} == {1}
    assert len(neighbours.models.versions) == 1


TWICE = [RATE, RATE]
REFUSED: list[tuple[list[dict[str, Any]], dict[str, Any], type[LeptonError], str]] = [
    ([], {}, InvalidField, r"study\.spec\.parameters"),
    ([{"path": "batch_size"}], {}, InvalidField, r"parameters\[0\]\.domain"),
    ([{"path": "nope", "choice": {"values": [1]}}], {}, InvalidField, "there is no 'nope'"),
    (TWICE, {}, InvalidField, "twice"),
    ([rates(0.1, 200)], {}, InvalidField, r"parameters\[0\]: no training can have .*=200: .*learning_rate"),
    ([rates(0.1, -1)], {}, InvalidField, "no training can have"),
    ([{"path": "batch_size", "choice": {"values": ["many"]}}], {}, InvalidField, "batch_size cannot be"),
    (
        [{"path": "optimizer.momentum", "real": {"min": 0.5, "max": 0.9}}],
        {},
        InvalidField,
        r"momentum=0\.5: study\.spec\.training\.optimizer\.momentum: is for SGD alone",
    ),
    ([RATE], {"sampler": "SAMPLER_GRID"}, InvalidField, "no end of values"),
    ([RATE], {"successive_halving": {"reduction_factor": 1}}, InvalidField, "at least 2"),
    ([RATE], {"trials": 1001}, InvalidField, "trials"),
    ([RATE], {"training": {"workers": 5}}, InvalidField, r"study\.spec\.training\.workers"),
    ([RATE], {"training": {"dataset_version": "datasets/no/versions/1"}}, NotFound, "datasets/no"),
    (
        [RATE],
        {"training": {"dataset_version": "datasets/digits/versions/3"}},
        WrongState,
        "still being built",
    ),
]


@pytest.mark.parametrize(
    ("searched", "spec", "error", "words"), REFUSED, ids=[words for _, _, _, words in REFUSED]
)
async def test_a_study_that_cannot_end_well_is_refused(
    searched: list[dict[str, Any]],
    spec: dict[str, Any],
    error: type[LeptonError],
    words: str,
    searcher: Searcher,
) -> None:
    with pytest.raises(error, match=words):
        await searcher.create(*searched, **spec)
    with pytest.raises(NotFound):
        await searcher.get()


async def test_without_a_validation_split_there_is_nothing_to_compare_by(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    neighbours.datasets.versions[DIGITS.name].counts.ClearField("validation")
    try:
        with pytest.raises(WrongState, match="no records in its validation split"):
            await searcher.create(RATE)
    finally:
        DIGITS.counts.validation = 180


async def test_a_retry_gets_the_same_study_and_what_was_decided_shows(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    latest = {"dataset_version": "datasets/digits/versions/latest"}
    study = await searcher.create(RATE, training=latest, request_id="r-1", trials=1, median={})
    assert study.spec.training.dataset_version == DIGITS.name
    assert study.spec.objective.metric == "validation_loss"
    assert (study.spec.parallel_trials, study.spec.median.startup_trials) == (1, 5)
    neighbours.datasets.versions.clear()
    assert (await searcher.create(RATE, request_id="r-1")).uid == study.uid
    with pytest.raises(AlreadyExists):
        await searcher.create(RATE, request_id="r-2")


async def test_studies_are_listed_newest_first_without_trials(searcher: Searcher) -> None:
    for number in range(2):
        await searcher.create(RATE, id=f"study-{number}", trials=1, labels={"n": str(number)})
        await searcher.watch(f"studies/study-{number}")
    listed = await searcher.trainer.studies.ListStudies(study_pb2.ListStudiesRequest())
    assert [study.name for study in listed.studies] == ["studies/study-1", "studies/study-0"]
    assert not listed.studies[0].trials and not listed.studies[0].status.metrics
    assert listed.studies[0].best_trial == 1
    one = await searcher.trainer.studies.ListStudies(study_pb2.ListStudiesRequest(label_filter={"n": "0"}))
    assert [study.name for study in one.studies] == ["studies/study-0"]


async def test_the_trials_of_a_search_spend_privacy_together(
    searcher: Searcher, neighbours: Neighbours
) -> None:
    version = neighbours.datasets.versions[DIGITS.name]
    budgeted = type(version).FromString(version.SerializeToString())
    # At this noise each spends 0.28 in its three epochs.
    budgeted.privacy_budget.epsilon = 0.7
    neighbours.datasets.versions[DIGITS.name] = budgeted
    await searcher.create(
        rates(0.01, 0.02, 0.03, 0.04),
        sampler="SAMPLER_GRID",
        parallel_trials=4,
        training={"privacy": {"noiseMultiplier": 4}},
    )
    ended = (await searcher.watch())[-1]
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert sorted(states(ended)) == ["FAILED", "FAILED", "SUCCEEDED", "SUCCEEDED"]
    refused = [trial for trial in ended.trials if trial.state == study_pb2.TRIAL_STATE_FAILED]
    assert {trial.reason for trial in refused} == {"PRIVACY_BUDGET_EXCEEDED"}
    assert "is left" in refused[0].message
    request = training_pb2.GetPrivacyLedgerRequest(dataset="datasets/digits")
    ledger = (await searcher.trainer.stub.GetPrivacyLedger(request)).privacy_ledger
    assert len(ledger.spendings) == 2
    assert ledger.epsilon_spent <= 0.7
    # Deleted with the study, they have spent it all the same.
    await searcher.delete()
    ledger = (await searcher.trainer.stub.GetPrivacyLedger(request)).privacy_ledger
    assert len(ledger.spendings) == 2
