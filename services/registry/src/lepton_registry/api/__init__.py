"""The registry's two services over gRPC: decode, one call, encode."""

from lepton_common.methods import Service
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_registry.adapters.artifacts import Artifacts
from lepton_registry.adapters.collections import Collections
from lepton_registry.adapters.endpoints import Endpoints
from lepton_registry.adapters.models import Models
from lepton_registry.adapters.pools import Pools, Sight
from lepton_registry.api import endpoints, models


def services(records: ResourceStore, objects: ObjectStore, *, sight: Sight | None = None) -> list[Service]:
    """Return what the registry offers.

    Args:
        records: Its resources.
        objects: The bytes of models.
        sight: The cluster that runs the inference servers, if one is looked at.
    """
    collections = Collections(records)
    return [
        models.service(Models(collections), Artifacts(objects)),
        endpoints.service(Endpoints(collections), Pools(collections, sight)),
    ]
