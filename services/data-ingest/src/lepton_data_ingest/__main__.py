"""`python -m lepton_data_ingest`: reads the settings, puts the parts together, serves."""

from lepton_common.jobs.controller import Controller
from lepton_common.jobs.workplace import open_workplace
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.server import main, serve
from lepton_data_ingest.adapters.builds import VersionBuilds
from lepton_data_ingest.adapters.collections import Collections
from lepton_data_ingest.adapters.datasets import Datasets
from lepton_data_ingest.adapters.uploads import Uploads
from lepton_data_ingest.adapters.versions import Versions
from lepton_data_ingest.api import DatasetServicer, service
from lepton_data_ingest.settings import Settings


async def run() -> None:
    """Serves until told to stop."""
    settings = Settings()
    records = await ResourceStore.open(settings.database_url)
    objects = ObjectStore(settings.object_store_url)
    workplace = await open_workplace(
        settings, objects, label="lepton.dev/dataset-version", lease="lepton-data-ingest"
    )
    launcher = workplace.launcher
    collections = Collections(records)
    controller = Controller(
        VersionBuilds(collections),
        launcher,
        objects,
        object_store_url=settings.object_store_of_workers,
        max_attempts=settings.max_attempts,
        max_running=settings.most_running,
    )
    servicer = DatasetServicer(
        Datasets(collections, objects, launcher=launcher),
        Uploads(collections, objects),
        Versions(collections, objects, launcher=launcher, controller=controller),
    )
    await serve(
        settings,
        [service(servicer)],
        tasks=workplace.tasks([controller.run]),
        on_stop=[workplace.close, records.close],
    )


if __name__ == "__main__":
    main(run)
