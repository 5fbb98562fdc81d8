"""`python -m lepton_registry`: reads the settings, puts the parts together, serves."""

from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.server import main, serve
from lepton_registry.api import services
from lepton_registry.settings import Settings


async def run() -> None:
    """Serves until told to stop."""
    settings = Settings()
    records = await ResourceStore.open(settings.database_url)
    objects = ObjectStore(settings.object_store_url)
    await serve(settings, services(records, objects), on_stop=[records.close])


if __name__ == "__main__":
    main(run)
