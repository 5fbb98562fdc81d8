"""Training as a kind of job: what its workers are told, and what becomes of what they made."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from lepton.training.v1 import training_pb2
from lepton.training.v1.training_pb2 import TrainingJob
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.kind import Work
from lepton_common.jobs.launcher import Placement
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_trainer.adapters.datasets import Datasets
from lepton_trainer.adapters.ledger import cost_of
from lepton_trainer.adapters.models import Models
from lepton_trainer.adapters.specs import recipe_of
from lepton_trainer.lineage import Node, chain

WORKER = "lepton_trainer.worker"
"""The module that trains."""


class TrainingKind:
    """The trainer's `JobKind`."""

    def __init__(
        self,
        collection: Collection[TrainingJob],
        objects: ObjectStore,
        *,
        datasets: Datasets,
        models: Models,
        worker: str = WORKER,
        input_memory_bytes: int = 0,
    ) -> None:
        """Keep jobs in `collection` and their specs in `objects`; `worker` is the module that trains.

        `input_memory_bytes` is what the records may take in memory; 0 leaves it to each worker.
        """
        self.collection = collection
        self._objects = objects
        self._datasets = datasets
        self._models = models
        self._worker = worker
        self._input_memory_bytes = input_memory_bytes

    async def launch(self, job: TrainingJob) -> Work:
        """Tell the workers what to train, and on which manifest.

        The lineage is written down with it: when the training is done the dataset version may be gone.
        """
        dataset = await self._datasets.get(job.spec.dataset_version)
        base = None
        if job.spec.HasField("base_model"):
            base = await self._models.get(job.spec.base_model.model_version)
        lineage = chain(
            job.name,
            dataset,
            base=() if base is None else base.lineage,
            privacy=cost_of([job.spec.privacy]) if job.spec.HasField("privacy") else None,
        )
        spec: dict[str, Any] = {
            "recipe": recipe_of(job.spec).to_dict(),
            "manifest": {"key": dataset.manifest, "sha256": dataset.digest},
            "lineage": [node.to_dict() for node in lineage],
        }
        if self._input_memory_bytes:
            spec["input_memory_bytes"] = self._input_memory_bytes
        if base is not None:
            spec["base"] = {"files": base.files, "freeze": job.spec.base_model.freeze}
        if job.study:
            # Most trials come to nothing: what they made goes with them.
            spec["artifacts"] = files.prefix(life.key(job))
        return Work(
            module=self._worker,
            spec=spec,
            workers=job.spec.workers,
            placement=_placement(job.spec.placement),
        )

    async def complete(self, job: TrainingJob, outcome: Mapping[str, Any]) -> Callable[[TrainingJob], None]:
        """Register the trained model; the same job always gives the same version.

        The model of a trial is left to its study.
        """
        if job.study:
            return _leave
        spec = await asyncio.to_thread(files.read_spec, self._objects, life.key(job))
        lineage = [Node.from_dict(document) for document in spec["lineage"]]
        version = await self._models.register(
            outcome, model=job.spec.model, lineage=lineage, request_id=job.uid
        )

        def write_down(stored: TrainingJob) -> None:
            stored.model_version = version

        return write_down


def _placement(placement: training_pb2.Placement) -> Placement:
    return Placement(
        gpus=placement.gpus,
        gpu_product=placement.gpu_product,
        queue=placement.queue,
        priority_class=placement.priority_class,
        deadline_seconds=placement.timeout_seconds,
    )


def _leave(stored: TrainingJob) -> None:
    """Change nothing."""
