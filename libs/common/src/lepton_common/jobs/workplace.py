"""Where the workers of a service run: on this machine, or in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lepton_common.errors import InvalidField, NotFound
from lepton_common.jobs.launcher import Launcher
from lepton_common.jobs.processes import ProcessLauncher
from lepton_common.objects import ObjectStore
from lepton_common.settings import WorkerSettings

if TYPE_CHECKING:
    from lepton_common.jobs.kubernetes import Cluster, KubernetesLauncher, SeenJob
    from lepton_common.server import Background


class Workplace(Protocol):
    """A place for workers.

    Attributes:
        launcher: Starts them there.
    """

    launcher: Launcher

    def adopt(self, arrived: Callable[[SeenJob], None], *, collection: str) -> None:
        """Call `arrived` with every Job that a user applies, where that can be.

        Args:
            arrived: Called in the event loop.
            collection: The collection of the jobs that these become. Example: "trainingJobs".
        """

    def tasks(self, loops: Sequence[Background]) -> list[Background]:
        """Return what runs beside the server, given the loops that only one replica may run."""

    async def close(self) -> None:
        """Let go of it; workers go on."""


class Machine:
    """This machine: a `Workplace`."""

    def __init__(self, run_directory: Path) -> None:
        """Keep the files of workers in a folder."""
        self.launcher: Launcher = ProcessLauncher(run_directory)

    def adopt(self, arrived: Callable[[SeenJob], None], *, collection: str) -> None:
        """Do nothing: nobody applies Jobs to a machine."""

    def tasks(self, loops: Sequence[Background]) -> list[Background]:
        """Run the loops."""
        return [*loops]

    async def close(self) -> None:
        """Do nothing: workers go on."""


class KubernetesCluster:
    """A cluster: a `Workplace`. One replica of the service runs the loops, whichever holds the Lease."""

    def __init__(self, cluster: Cluster, launcher: KubernetesLauncher, *, lease: str, replica: str) -> None:
        """See `open_workplace`."""
        self.launcher: Launcher = launcher
        self._kubernetes = launcher
        self._cluster = cluster
        self._lease = lease
        self._replica = replica

    def adopt(self, arrived: Callable[[SeenJob], None], *, collection: str) -> None:
        """Call `arrived` with every Job that has the label and that a user has made."""
        self._kubernetes.adopt(arrived, collection=collection)

    def tasks(self, loops: Sequence[Background]) -> list[Background]:
        """Follow the cluster and run the loops, while this replica leads."""
        from lepton_common.jobs.kubernetes import lead

        work = [self._kubernetes.run, *loops]
        return [partial(lead, self._cluster, self._lease, identity=self._replica, work=work)]

    async def close(self) -> None:
        """Close the connections."""
        await self._cluster.close()


async def open_workplace(
    settings: WorkerSettings, objects: ObjectStore, *, label: str, lease: str
) -> Workplace:
    """Open the place that the settings name.

    Args:
        settings: The service's.
        objects: Where specs and outcomes are.
        label: In a cluster, the label of Jobs and their pods that says which job of the service they are of.
            Example: "lepton.dev/training-job".
        lease: In a cluster, the Lease that says which replica runs the loops. Example: "lepton-trainer".

    Raises:
        InvalidField: The job template is no Job, or what Jobs are to belong to is not there.
        ConfigException: There is no cluster.
    """
    if settings.job_template is None:
        assert settings.run_directory is not None, "the settings see to it"
        return Machine(settings.run_directory)
    # Imported by those who run there: the client takes a second and 60 MB.
    from lepton_common.jobs.kubernetes import Cluster, KubernetesLauncher, owned, read_template

    template = read_template(settings.job_template)
    cluster = await Cluster.connect(settings.namespace)
    if settings.job_owner:
        try:
            template = owned(template, await cluster.get(cluster.path("configmaps", settings.job_owner)))
        except NotFound as error:
            await cluster.close()
            raise InvalidField(f"LEPTON_JOB_OWNER: there is no ConfigMap {settings.job_owner!r}") from error
    launcher = KubernetesLauncher(cluster, objects, template=template, label=label)
    return KubernetesCluster(cluster, launcher, lease=lease, replica=settings.replica)
