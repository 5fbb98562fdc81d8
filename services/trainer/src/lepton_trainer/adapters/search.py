"""One study, one step nearer to its end.

A step looks at the study and at the training jobs that are its trials, and decides what comes next. What it
has decided (trials that have ended, jobs to be made, jobs to be stopped) is written in one transaction, if
the study is still the one that was looked at. So a step may be cut off anywhere, and taken by several
replicas at once: no trial is lost and none made twice.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from lepton.job.v1 import job_pb2
from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import AlreadyExists, EtagMismatch, LeptonError, NotFound, PrivacyBudgetExceeded
from lepton_common.jobs import job as life
from lepton_common.jobs.kind import says_not_now
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection, ResourceStore, Transaction
from lepton_trainer.adapters.acceptance import Acceptance
from lepton_trainer.adapters.best_model import kept_epoch, register_best
from lepton_trainer.adapters.ledger import Ledger
from lepton_trainer.adapters.studies import (
    course_of,
    decode_search,
    decode_trial,
    encode_trial,
    points_of,
    trial_spec,
)
from lepton_trainer.adapters.trials import close, close_with, fail, give_up, report
from lepton_trainer.pruning import Course, gives_up
from lepton_trainer.sampling import importances, suggest
from lepton_trainer.study import (
    Search,
    Trial,
    TrialState,
    best,
    hopeless,
    is_over,
    wanted,
    without_value,
)
from lepton_trainer.training import DatasetVersion

STUDY_LABEL = "lepton.dev/study"
"""Label of a trial's training job: the id of its study."""

TRIAL_LABEL = "lepton.dev/trial"
"""Label of a trial's training job: its number."""

REGISTERING = "registering"


class Step(Enum):
    """What came of a step."""

    WATCHED = "watched"
    """Nothing to do before something changes."""

    MOVED = "moved"
    """Something was decided, or someone else has decided something."""

    WAITS = "waits"
    """Another service holds it up."""

    ENDED = "ended"
    """The study has ended, or is gone."""


@dataclass
class _Plan:
    """What a step has decided."""

    study: study_pb2.Study
    """As it will be."""

    seen: study_pb2.Study
    """As it was."""

    active: Mapping[str, training_pb2.TrainingJob]
    """Jobs of its trials that have not ended, by name; those of trials that were given up among them."""

    make: list[tuple[training_pb2.TrainingJob, DatasetVersion]] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    waits: bool = False


class StudySearch:
    """Takes the steps of all studies."""

    def __init__(
        self,
        store: ResourceStore,
        studies: Collection[study_pb2.Study],
        jobs: Collection[training_pb2.TrainingJob],
        *,
        objects: ObjectStore,
        acceptance: Acceptance,
        ledger: Ledger,
    ) -> None:
        """Bring `studies` to their end by means of `jobs`, both in `store`."""
        self._store = store
        self._studies = studies
        self._jobs = jobs
        self._objects = objects
        self._acceptance = acceptance
        self._ledger = ledger
        self._courses: dict[str, dict[int, Course]] = {}
        """What ended trials have measured, by the uid of their study: it does not change any more."""

    async def step(self, name: str) -> Step:
        """Bring a study one step further.

        Raises:
            LeptonError: A store does not answer; take the step again later.
        """
        seen = await self._studies.find(name)
        if seen is None or life.is_final(seen.status.state):
            return Step.ENDED
        study = study_pb2.Study()
        study.CopyFrom(seen)
        labels = {STUDY_LABEL: name.partition("/")[2]}
        jobs = self._jobs.each(labels=labels, index=life.ACTIVE)
        plan = _Plan(study, seen, {job.name: job async for job in jobs if job.study == name})
        search = decode_search(study.spec)
        if study.status.state == job_pb2.JOB_STATE_QUEUED:
            life.start(study.status)
        await self._settle(plan, search)
        if self._is_stopping(plan, search):
            return await self._end(plan, search)
        await self._prune(plan, search)
        await self._begin(plan, search)
        self._report(plan, search, phase="searching")
        moved = await self._commit(plan)
        return Step.WAITS if plan.waits else Step.MOVED if moved else Step.WATCHED

    def _is_stopping(self, plan: _Plan, search: Search) -> bool:
        """Say whether no further trial is to be begun and those that run are to be stopped, or have ended."""
        status, trials = plan.study.status, _trials(plan)
        if status.state == job_pb2.JOB_STATE_CANCELLING or is_over(search, trials):
            return True
        return time.time() >= deadline(plan.study) or hopeless(search, trials) is not None

    async def _settle(self, plan: _Plan, search: Search) -> None:
        """Write down what became of trials whose jobs have ended."""
        settled = False
        for trial in plan.study.trials:
            if trial.state != study_pb2.TRIAL_STATE_RUNNING:
                continue
            job = plan.active.get(trial.training_job) or await self._jobs.find(trial.training_job)
            if job is not None and job.status.HasField("start_time"):
                trial.start_time.CopyFrom(job.status.start_time)
            if job is None:
                close(trial, TrialState.CANCELLED)
                trial.message = "its training job was deleted"
            elif life.is_final(job.status.state):
                epoch = await asyncio.to_thread(kept_epoch, self._objects, job)
                close_with(trial, job, search, kept_epoch=epoch)
            settled |= trial.state != study_pb2.TRIAL_STATE_RUNNING
        if not settled:
            return
        trials = _trials(plan)
        found = best(search, trials)
        plan.study.best_trial = found.number if found is not None else 0
        plan.study.importances.clear()
        plan.study.importances.update(await asyncio.to_thread(importances, search, trials))

    async def _prune(self, plan: _Plan, search: Search) -> None:
        """Give up trials that others have left behind."""
        if search.pruner is None:
            return
        courses = await self._measured(plan, search)
        succeeded = [
            trial.number for trial in plan.study.trials if trial.state == study_pb2.TRIAL_STATE_SUCCEEDED
        ]
        for trial in plan.study.trials:
            if trial.state != study_pb2.TRIAL_STATE_RUNNING:
                continue
            if not gives_up(search.pruner, trial.number, courses, succeeded=succeeded):
                continue
            give_up(trial, plan.active[trial.training_job], search)
            plan.stop.append(trial.training_job)

    async def _measured(self, plan: _Plan, search: Search) -> dict[int, Course]:
        """What all trials have measured so far, by number."""
        ended = self._courses.setdefault(plan.study.uid, {})
        running: dict[int, Course] = {}
        for trial in plan.study.trials:
            if trial.number in ended or not trial.training_job:
                continue
            job = plan.active.get(trial.training_job) or await self._jobs.find(trial.training_job)
            course = course_of(points_of(job, search.metric), maximize=search.maximize) if job else []
            over = job is None or life.is_final(job.status.state)
            (ended if over else running)[trial.number] = course
        return {**ended, **running}

    async def _begin(self, plan: _Plan, search: Search) -> None:
        """Begin as many trials as are wanted now."""
        for _ in range(wanted(search, _trials(plan))):
            trials = _trials(plan)
            number = len(trials) + 1
            parameters = await asyncio.to_thread(suggest, search, trials, number)
            trial = Trial(number=number, state=TrialState.RUNNING, parameters=parameters)
            name = f"trainingJobs/{plan.study.name.partition('/')[2]}-{number}"
            written = encode_trial(trial, training_job=name)
            try:
                job, dataset = await self._job(plan.study, written)
                await self._ledger.check(job, dataset, besides=[made for made, _ in plan.make])
            except LeptonError as error:
                if says_not_now(error):
                    life.wait(plan.study.status, error.message)
                    plan.waits = True
                    return
                written.training_job = ""
                fail(written, error)
            else:
                plan.make.append((job, dataset))
            plan.study.trials.append(written)

    async def _job(
        self, study: study_pb2.Study, trial: study_pb2.Trial
    ) -> tuple[training_pb2.TrainingJob, DatasetVersion]:
        """The training job of a new trial, and what it is trained on.

        Raises:
            LeptonError: There can be none.
        """
        if await self._jobs.find(trial.training_job) is not None:
            raise AlreadyExists(f"{trial.training_job!r} exists already and is no trial of this study")
        spec = trial_spec(study.spec, decode_trial(trial).parameters)
        dataset = await self._acceptance.accept(spec)
        labels = {**study.labels, STUDY_LABEL: study.name.partition("/")[2], TRIAL_LABEL: str(trial.number)}
        job = training_pb2.TrainingJob(
            name=trial.training_job, labels=labels, spec=spec, status=life.queued(), study=study.name
        )
        return job, dataset

    async def _end(self, plan: _Plan, search: Search) -> Step:
        """Stop what still runs; once nothing does, end the study."""
        for trial in plan.study.trials:
            if trial.state == study_pb2.TRIAL_STATE_RUNNING:
                close(trial, TrialState.CANCELLED)
        plan.stop += [
            name for name, job in plan.active.items() if job.status.state != job_pb2.JOB_STATE_CANCELLING
        ]
        if plan.active:
            self._report(plan, search, phase="stopping")
            return Step.MOVED if await self._commit(plan) else Step.WATCHED
        status, trials = plan.study.status, _trials(plan)
        begun = plan.seen.status.progress.phase == REGISTERING
        # What was about to be registered may be, by now: then the study has ended well.
        if status.state == job_pb2.JOB_STATE_CANCELLING and not begun:
            self._report(plan, search, phase="stopping")
            life.cancelled(status)
        elif (error := hopeless(search, trials)) is not None:
            self._report(plan, search, phase="stopping")
            life.fail(status, error)
        elif (chosen := best(search, trials)) is None:
            self._report(plan, search, phase="stopping")
            life.fail(status, without_value(trials))
        elif not begun:
            # Written down first: from here on the best trial is this one.
            self._report(plan, search, phase=REGISTERING)
        else:
            await self._register(plan, plan.study.trials[chosen.number - 1].training_job)
        await self._commit(plan)
        return Step.WAITS if plan.waits else Step.MOVED

    async def _register(self, plan: _Plan, name: str) -> None:
        status = plan.study.status
        try:
            plan.study.model_version = await register_best(
                plan.seen,
                await self._jobs.get(name),
                objects=self._objects,
                models=self._acceptance.models,
            )
        except LeptonError as error:
            if status.state == job_pb2.JOB_STATE_CANCELLING:
                life.cancelled(status)
            elif says_not_now(error):
                life.wait(status, error.message)
                plan.waits = True
            else:
                life.fail(status, error)
        else:
            life.finish(status)

    def _report(self, plan: _Plan, search: Search, *, phase: str) -> None:
        """Write into the study how far it is; a reason to wait stays."""
        message = plan.study.status.message
        report(plan.study.status, search, _trials(plan), phase=phase)
        if plan.waits:
            plan.study.status.message = message

    async def _commit(self, plan: _Plan) -> bool:
        """Write down what was decided, all of it or nothing; say whether anything was or others did."""
        changed = plan.study.SerializeToString(deterministic=True) != plan.seen.SerializeToString(
            deterministic=True
        )
        if not changed and not plan.stop:
            return False

        def body(transaction: Transaction) -> None:
            studies, jobs = transaction.rows(self._studies), transaction.rows(self._jobs)
            studies.update(plan.seen.name, lambda stored: stored.CopyFrom(plan.study), etag=plan.seen.etag)
            for job, dataset in plan.make:
                self._ledger.create(transaction, job, dataset)
            for name in plan.stop:
                with suppress(NotFound):
                    jobs.update(name, lambda stored: life.request_cancel(stored.status))

        # What others have spent meanwhile is seen by the next step.
        with suppress(EtagMismatch, NotFound, AlreadyExists, PrivacyBudgetExceeded):
            await self._store.transaction(body, self._studies, self._jobs, self._ledger.spendings)
        if life.is_final(plan.study.status.state):
            self._courses.pop(plan.study.uid, None)
        return True


def deadline(study: study_pb2.Study) -> float:
    """Return the Unix time after which no trial is begun; infinity where there is no limit."""
    if not study.spec.timeout_seconds or not study.status.HasField("start_time"):
        return math.inf
    return study.status.start_time.ToNanoseconds() / 1e9 + study.spec.timeout_seconds


def _trials(plan: _Plan) -> Sequence[Trial]:
    return [decode_trial(trial) for trial in plan.study.trials]
