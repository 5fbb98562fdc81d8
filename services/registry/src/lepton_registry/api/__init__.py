"""The registry's two services over gRPC: decode, one call, encode."""

from lepton_common.methods import Service
from lepton_common.records import ResourceStore
from lepton_registry.adapters.collections import Collections
from lepton_registry.adapters.endpoints import Endpoints
from lepton_registry.adapters.models import Models
from lepton_registry.api import endpoints, models


def services(records: ResourceStore) -> list[Service]:
    """Return what the registry offers, over the resources in `records`."""
    collections = Collections(records)
    return [models.service(Models(collections)), endpoints.service(Endpoints(collections))]
