"""What becomes of a training spec when it is accepted: checked, and with nothing left open."""

import asyncio
from dataclasses import dataclass

from lepton.training.v1 import training_pb2
from lepton_trainer.accounting import settle
from lepton_trainer.adapters.datasets import Datasets
from lepton_trainer.adapters.models import Models
from lepton_trainer.adapters.specs import fill_in, fill_in_privacy, recipe_of
from lepton_trainer.base import BaseModel, check_base, check_private_base
from lepton_trainer.training import MAX_LOCAL_WORKERS, DatasetVersion, check


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Accepts training specs.

    Attributes:
        datasets: What can be trained on.
        models: What can be begun with.
        most_workers: How many workers can train together.
    """

    datasets: Datasets
    models: Models
    most_workers: int = MAX_LOCAL_WORKERS

    async def accept(self, spec: training_pb2.TrainingSpec) -> DatasetVersion:
        """Check a spec and write into it what it leaves to the server; return the dataset version it is for.

        Raises:
            NotFound: There is no such dataset version, or no such base model.
            WrongState: The base model is an exported one.
            DependencyUnavailable: The dataset service or the registry does not answer.
            InvalidField: It would spend more privacy than it says, or begin with what is not private.
            LeptonError: It cannot be trained; see `training.check`.
        """
        dataset = await self.datasets.get(spec.dataset_version)
        fill_in_checked(spec, dataset, most_workers=self.most_workers)
        base = await self.fill_in_base(spec)
        if (privacy := recipe_of(spec).privacy) is not None:
            if base is not None:
                check_private_base(base, dataset.dataset)
            settled = await asyncio.to_thread(
                settle,
                privacy,
                records=dataset.training_records,
                batch_size=spec.batch_size,
                epochs=spec.max_epochs,
            )
            fill_in_privacy(spec, settled)
        return dataset

    async def fill_in_base(self, spec: training_pb2.TrainingSpec) -> BaseModel | None:
        """Check the model that a spec wants to begin with, write its version into the spec, and return it.

        Raises:
            NotFound: There is none.
            WrongState: It is an exported one.
            DependencyUnavailable: The registry does not answer.
        """
        if not spec.HasField("base_model"):
            return None
        base = await self.models.get(spec.base_model.model_version)
        check_base(base)
        spec.base_model.model_version = base.name
        return base


def fill_in_checked(
    spec: training_pb2.TrainingSpec, dataset: DatasetVersion, *, most_workers: int = MAX_LOCAL_WORKERS
) -> None:
    """Check a spec for a dataset version and write into it what it leaves to the server.

    Raises:
        LeptonError: It cannot be trained; see `training.check`.
    """
    recipe = recipe_of(spec)
    check(recipe, dataset, workers=spec.workers or 1, most_workers=most_workers)
    fill_in(spec, recipe)
    spec.dataset_version = dataset.name
