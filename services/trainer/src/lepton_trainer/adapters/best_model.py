"""The model of a study's best trial, from the trial's own files to a model version."""

import asyncio
from typing import Any

from lepton.training.v1.study_pb2 import Study
from lepton.training.v1.training_pb2 import TrainingJob
from lepton_common.errors import NotFound
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.objects import ObjectStore
from lepton_trainer.adapters.models import Models
from lepton_trainer.lineage import Node

_BLOBS = "models/blobs"


async def register_best(study: Study, job: TrainingJob, *, objects: ObjectStore, models: Models) -> str:
    """Register what a trial trained; return the version's name, the same for a study at every call.

    Args:
        study: The study.
        job: The training job of its best trial.
        objects: Where the trial has left its model.
        models: The registry.

    Raises:
        NotFound: The trial's files are gone.
        DependencyUnavailable: The registry or the object store does not answer.
    """
    output, spec = await asyncio.to_thread(_take_over, objects, job)
    chosen = Node(name=study.name, kind="STUDY", parents=(job.name,))
    lineage = [chosen, *(Node.from_dict(document) for document in spec["lineage"])]
    return await models.register(
        output, model=study.spec.training.model, lineage=lineage, request_id=study.uid
    )


def kept_epoch(objects: ObjectStore, job: TrainingJob) -> int:
    """Return the epoch whose weights a training job's model has; 0 where the worker did not say."""
    outcome = files.read_outcome(objects, life.key(job), job.status.attempt)
    output = outcome.output if outcome is not None else None
    return int((output or {}).get("metrics", {}).get("best_epoch", 0))


def _take_over(objects: ObjectStore, job: TrainingJob) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copy a trial's model to where models stay, and return its output with the new keys, and its spec."""
    outcome = files.read_outcome(objects, life.key(job), job.status.attempt)
    if outcome is None or outcome.output is None:
        raise NotFound(f"what {job.name!r} made is gone")
    made = []
    for file in outcome.output["files"]:
        key = f"{_BLOBS}/{file['sha256']}"
        if objects.stat(key) is None:
            objects.copy(file["key"], key)
        made.append({**file, "key": key})
    return {**outcome.output, "files": made}, files.read_spec(objects, life.key(job))
