"""A service with nothing but jobs: python -m job_programs.service <folder> <settings as JSON>.

The store, the objects and the run directory are in the folder. With a file `no-launch` or
`no-register` there, launching or registering is what another service is needed for and not there.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lepton.training.v1.training_pb2 import TrainingJob
from lepton_common.errors import DependencyUnavailable
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.kind import Work
from lepton_common.jobs.launcher import Launcher, Placement
from lepton_common.jobs.processes import ProcessLauncher
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection, ResourceStore
from lepton_common.telemetry.logs import configure_logging


class Kind:
    """Jobs whose labels say what their workers do; their output is registered as an object."""

    def __init__(self, collection: Collection[TrainingJob], objects: ObjectStore, folder: Path) -> None:
        self.collection = collection
        self._objects = objects
        self._folder = folder

    async def launch(self, job: TrainingJob) -> Work:
        self._need("no-launch")
        spec = {"folder": str(self._folder), "job": job.name, "labels": dict(job.labels)}
        return Work(
            module="job_programs.worker",
            spec=spec,
            workers=job.spec.workers or 1,
            placement=Placement(queue=job.labels.get("queue", "")),
        )

    async def complete(self, job: TrainingJob, outcome: Mapping[str, Any]) -> Callable[[TrainingJob], None]:
        self._need("no-register")
        key = f"registered/{job.name}"
        await asyncio.to_thread(self._objects.put, key, json.dumps(outcome).encode(), if_absent=True)
        version = json.loads(await asyncio.to_thread(self._objects.get, key))["version"]

        def register(stored: TrainingJob) -> None:
            stored.model_version = version

        return register

    def _need(self, away: str) -> None:
        if (self._folder / away).exists():
            raise DependencyUnavailable("the registry does not answer")


def controller_of(
    folder: Path,
    store: ResourceStore,
    *,
    grace_seconds: float = 5,
    launcher: Launcher | None = None,
    **settings: Any,
) -> Controller[TrainingJob]:
    objects = ObjectStore(f"file://{folder}/objects")
    return Controller(
        Kind(store.collection(TrainingJob, index=life.index), objects, folder),
        launcher or ProcessLauncher(folder / "run", grace_seconds=grace_seconds),
        objects,
        object_store_url=objects.url,
        **{"poll_seconds": 0.05, **settings},
    )


async def run() -> None:
    folder = Path(sys.argv[1])
    store = await ResourceStore.open(f"sqlite:///{folder}/jobs.db")
    controller = controller_of(folder, store, **json.loads(sys.argv[2]))
    (folder / f"ready-{os.getpid()}").touch()
    await controller.run()


if __name__ == "__main__":
    configure_logging("INFO")
    asyncio.run(run())
