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
    if not settings.namespace:
        await serve(settings, services(records, objects), on_stop=[records.close])
        return
    # Imported for those who have a cluster: its client costs 20 MB and a quarter of a second.
    from lepton_common.jobs.kubernetes import Cluster
    from lepton_registry.adapters.cluster import PoolPods

    cluster = await Cluster.connect(settings.namespace)
    pods = PoolPods(cluster)
    await serve(
        settings,
        services(records, objects, sight=pods),
        tasks=[pods.run],
        on_stop=[cluster.close, records.close],
    )


if __name__ == "__main__":
    main(run)
