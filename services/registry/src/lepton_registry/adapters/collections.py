"""What the registry keeps."""

from collections.abc import Container, Iterable

from lepton.endpoint.v1.endpoint_pb2 import Endpoint, Replica
from lepton.model.v1.model_pb2 import Model, ModelVersion
from lepton_common.errors import InUse, NotFound
from lepton_common.records import ResourceStore, Rows
from lepton_registry.model import is_latest, model_of


class Collections:
    """The collections of the registry.

    Attributes:
        records: The store that they are in.
        models: `models/{model}`.
        versions: `models/{model}/versions/{version}`.
        endpoints: `endpoints/{endpoint}`, without what servers report, by the model that they follow.
        reports: `endpoints/{endpoint}/replicas/{replica}`: an endpoint as one server sees it, of which
            only `serving` is filled. A collection of its own, since reports come every few seconds:
            they change no endpoint's etag and wake nobody who watches endpoints.
        replicas: `pools/{pool}/replicas/{replica}`: the servers themselves.
    """

    def __init__(self, records: ResourceStore) -> None:
        """Take the collections of `records`."""
        self.records = records
        self.models = records.collection(Model)
        self.versions = records.collection(ModelVersion)
        self.endpoints = records.collection(Endpoint, index=lambda endpoint: endpoint.follow.model)
        self.reports = records.collection(Endpoint, kind="lepton.endpoint.v1.Endpoint/replicas")
        self.replicas = records.collection(Replica)


def find_version(versions: Rows[ModelVersion], name: str) -> ModelVersion:
    """Return the version of this name, which may end in `latest`.

    Raises:
        NotFound: There is none.
    """
    if not is_latest(name):
        return versions.get(name)
    newest = versions.list(parent=model_of(name), page_size=1, newest_first=True).items
    if not newest:
        raise NotFound(f"{model_of(name)!r} has no version", metadata={"name": name})
    return newest[0]


def check_unserved(endpoints: Iterable[Endpoint], versions: Container[str]) -> None:
    """Check that none of these endpoints serves any of these versions.

    Raises:
        InUse: One does.
    """
    for endpoint in endpoints:
        for target in endpoint.targets:
            if target.model_version in versions:
                raise InUse(
                    f"{endpoint.name!r} serves {target.model_version!r}",
                    metadata={"name": target.model_version, "endpoint": endpoint.name},
                )
