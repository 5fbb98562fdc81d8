"""Where workers run: on this machine, or in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from lepton.training.v1 import training_pb2
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.launcher import Launcher
from lepton_common.jobs.processes import ProcessLauncher
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_trainer.adapters.datasets import Datasets
from lepton_trainer.adapters.ledger import Ledger
from lepton_trainer.adapters.models import Models
from lepton_trainer.training import MAX_CLUSTER_WORKERS, MAX_LOCAL_WORKERS

if TYPE_CHECKING:
    from lepton_common.jobs.kubernetes import Cluster, KubernetesLauncher

Background: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

LEASE = "lepton-trainer"
"""The Lease that says which replica follows the jobs."""


class Workplace(Protocol):
    """A place for workers.

    Attributes:
        launcher: Starts them there.
        most_workers: How many can train together.
    """

    launcher: Launcher
    most_workers: int

    def tasks(
        self,
        loops: Sequence[Background],
        *,
        jobs: Collection[training_pb2.TrainingJob],
        datasets: Datasets,
        models: Models,
        controller: Controller[training_pb2.TrainingJob],
        ledger: Ledger,
    ) -> list[Background]:
        """Return what runs beside the server, given the loops that follow the jobs."""

    async def close(self) -> None:
        """Let go of it; workers go on."""


class Machine:
    """This machine: a `Workplace`."""

    def __init__(self, run_directory: Path) -> None:
        """Keep the files of workers in a folder."""
        self.launcher: Launcher = ProcessLauncher(run_directory)
        self.most_workers = MAX_LOCAL_WORKERS

    def tasks(
        self,
        loops: Sequence[Background],
        *,
        jobs: Collection[training_pb2.TrainingJob],
        datasets: Datasets,
        models: Models,
        controller: Controller[training_pb2.TrainingJob],
        ledger: Ledger,
    ) -> list[Background]:
        """Follow the jobs."""
        return [*loops]

    async def close(self) -> None:
        """Do nothing: workers go on."""


class KubernetesCluster:
    """A cluster: a `Workplace`. One replica of the service follows the jobs, whichever holds the Lease."""

    def __init__(
        self, cluster: Cluster, launcher: KubernetesLauncher, objects: ObjectStore, *, replica: str
    ) -> None:
        """See `open`."""
        self.launcher: Launcher = launcher
        self.most_workers = MAX_CLUSTER_WORKERS
        self._kubernetes = launcher
        self._cluster = cluster
        self._objects = objects
        self._replica = replica

    @classmethod
    async def open(
        cls, job_template: Path, objects: ObjectStore, *, namespace: str, replica: str
    ) -> KubernetesCluster:
        """Connect to the cluster.

        Raises:
            InvalidField: The template is no Job.
            ConfigException: There is no cluster.
        """
        # Imported by those who run there: the client takes a second and 60 MB.
        from lepton_common.jobs.kubernetes import Cluster, KubernetesLauncher, read_template
        from lepton_trainer.adapters.adoption import JOB_LABEL

        template = read_template(job_template)
        cluster = await Cluster.connect(namespace)
        launcher = KubernetesLauncher(
            cluster, objects, template=template, collection="trainingJobs", label=JOB_LABEL
        )
        return cls(cluster, launcher, objects, replica=replica)

    def tasks(
        self,
        loops: Sequence[Background],
        *,
        jobs: Collection[training_pb2.TrainingJob],
        datasets: Datasets,
        models: Models,
        controller: Controller[training_pb2.TrainingJob],
        ledger: Ledger,
    ) -> list[Background]:
        """Follow the jobs and the cluster, and take over what users apply, while this replica leads."""
        from lepton_common.jobs.kubernetes import lead
        from lepton_trainer.adapters.adoption import Adoption

        adoption = Adoption(
            jobs,
            datasets,
            models,
            controller=controller,
            launcher=self._kubernetes,
            objects=self._objects,
            ledger=ledger,
        )
        work = [self._kubernetes.run, adoption.run, *loops]
        return [partial(lead, self._cluster, LEASE, identity=self._replica, work=work)]

    async def close(self) -> None:
        """Close the connections."""
        await self._cluster.close()
