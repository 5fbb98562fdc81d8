"""Training Jobs that users apply with kubectl: they become training jobs like any other."""

# What a cluster is seen as is loaded by those who run in one.
from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

import yaml
from google.protobuf import json_format

from lepton.training.v1 import training_pb2
from lepton_common.errors import AlreadyExists, InvalidField, LeptonError
from lepton_common.interceptors.validation import check as check_rules
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.kind import says_not_now
from lepton_common.jobs.workplace import Workplace
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_trainer.adapters.acceptance import Acceptance
from lepton_trainer.adapters.ledger import Ledger

if TYPE_CHECKING:
    from lepton_common.jobs.kubernetes import SeenJob

JOB_LABEL = "lepton.dev/training-job"
"""Label of a Job and its pods: the id of the training job."""

SPEC_ANNOTATION = "lepton.dev/training-spec"
"""Annotation of a Job that a user applies: the `TrainingSpec`, as YAML or JSON."""

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_AGAIN_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Adoption:
    """Takes over the Jobs that a workplace tells of.

    The pods of such a Job wait until what they are to do is written down. Those of one that cannot be taken
    over are told why, and fail it at once.
    """

    def __init__(
        self,
        jobs: Collection[training_pb2.TrainingJob],
        acceptance: Acceptance,
        *,
        controller: Controller[training_pb2.TrainingJob],
        workplace: Workplace,
        objects: ObjectStore,
        ledger: Ledger,
    ) -> None:
        """Make a training job in `jobs` of every Job that `workplace` tells of."""
        self._jobs = jobs
        self._ledger = ledger
        self._acceptance = acceptance
        self._controller = controller
        self._objects = objects
        self._arrived: asyncio.Queue[SeenJob] = asyncio.Queue()
        workplace.adopt(self._arrived.put_nowait, collection="trainingJobs")

    async def run(self) -> None:
        """Take Jobs over as they arrive, until cancelled."""
        while True:
            seen = await self._arrived.get()
            try:
                await self._adopt(seen)
            except LeptonError as error:
                _log.warning("a Job will be taken over later: %s", error, extra={"job": seen.name})
                await asyncio.sleep(_AGAIN_SECONDS)
                self._arrived.put_nowait(seen)

    async def _adopt(self, seen: SeenJob) -> None:
        job = training_pb2.TrainingJob(name=f"trainingJobs/{seen.id}", status=life.queued())
        known = await self._jobs.find(job.name) if _ID.fullmatch(seen.id) else None
        if (known is not None and known.uid == seen.uid) or seen.deleting:
            return
        try:
            if not _ID.fullmatch(seen.id):
                raise InvalidField(f"the label {JOB_LABEL} must be lower-case letters, digits and hyphens")
            if known is not None:
                raise AlreadyExists(f"there is another training job {seen.id!r}: give it another name")
            job.spec.CopyFrom(decode_spec(seen.annotations.get(SPEC_ANNOTATION, ""), workers=seen.workers))
            dataset = await self._acceptance.accept(job.spec)
            # Its workers are there already.
            life.start(job.status)
            await self._ledger.accept(job, dataset, request_id=seen.uid, uid=seen.uid)
        except LeptonError as error:
            if says_not_now(error):
                raise
            await asyncio.to_thread(files.write_refusal, self._objects, seen.key, error)
            life.fail(job.status, error)
            _log.info("a Job is not taken over: %s", error, extra={"job": seen.name})
            if known is not None or not _ID.fullmatch(seen.id):
                return
            await self._jobs.create(job, request_id=seen.uid, uid=seen.uid)
        self._controller.wake()


def decode_spec(text: str, *, workers: int) -> training_pb2.TrainingSpec:
    """Decode what a user has written into the annotation of a Job.

    Args:
        text: A `TrainingSpec` as YAML, or JSON, with the names of the fields as in the contract.
        workers: How many pods work together, which is how many workers there are.

    Raises:
        InvalidField: It is missing, or no valid spec.
    """
    if not text.strip():
        raise InvalidField(f"the annotation {SPEC_ANNOTATION} is missing: it says what to train")
    spec = training_pb2.TrainingSpec()
    try:
        document = yaml.safe_load(text)
        if not isinstance(document, dict):
            raise InvalidField(f"the annotation {SPEC_ANNOTATION} must be a mapping of fields to values")
        json_format.ParseDict(document, spec)
    except (yaml.YAMLError, json_format.ParseError) as error:
        raise InvalidField(f"the annotation {SPEC_ANNOTATION} is no training spec: {error}") from error
    if spec.workers not in (0, workers):
        raise InvalidField(f"the spec asks for {spec.workers} workers, and the Job has {workers} completions")
    spec.workers = workers
    check_rules(spec)
    return spec
