"""Training as a kind of job: what its workers are told, and what becomes of what they made."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from lepton.training.v1.training_pb2 import TrainingJob
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.kind import Work
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_trainer.adapters.datasets import Datasets
from lepton_trainer.adapters.models import Models
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
    ) -> None:
        """Keep jobs in `collection` and their specs in `objects`; `worker` is the module that trains."""
        self.collection = collection
        self._objects = objects
        self._datasets = datasets
        self._models = models
        self._worker = worker

    async def launch(self, job: TrainingJob) -> Work:
        """Tell the workers what to train, and on which manifest.

        The lineage is written down with it: when the training is done the dataset version may be gone.
        """
        dataset = await self._datasets.get(job.spec.dataset_version)
        spec = {
            "spec": MessageToDict(job.spec, preserving_proto_field_name=True),
            "manifest": {"key": dataset.manifest, "sha256": dataset.digest},
            "lineage": [node.to_dict() for node in chain(job.name, dataset)],
        }
        return self._worker, spec, job.spec.workers

    async def complete(self, job: TrainingJob, outcome: Mapping[str, Any]) -> Callable[[TrainingJob], None]:
        """Register the trained model; the same job always gives the same version."""
        spec = await asyncio.to_thread(files.read_spec, self._objects, life.key(job))
        version = await self._models.register(
            job.spec.model,
            outcome,
            lineage=[Node.from_dict(document) for document in spec["lineage"]],
            request_id=job.uid,
        )

        def register(stored: TrainingJob) -> None:
            stored.model_version = version

        return register
