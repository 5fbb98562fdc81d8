"""The resources of the service."""

from contextlib import AbstractAsyncContextManager

from lepton.dataset.v1.dataset_pb2 import Dataset, DatasetVersion, Upload
from lepton_common.jobs import job as life
from lepton_common.records import ResourceStore, Rows


class Collections:
    """The collections of the service.

    Attributes:
        records: The store that they are in.
        datasets: `datasets/{dataset}`.
        uploads: `datasets/{dataset}/uploads/{upload}`, found by the digest of complete ones.
        versions: `datasets/{dataset}/versions/{version}`, found by whether they are being built.
    """

    def __init__(self, records: ResourceStore) -> None:
        """Take the collections of `records`."""
        self.records = records
        self.datasets = records.collection(Dataset)
        self.uploads = records.collection(
            Upload, index=lambda upload: upload.sha256 if upload.complete else ""
        )
        self.versions = records.collection(DatasetVersion, index=life.index)

    def alone(self, dataset: str) -> AbstractAsyncContextManager[None]:
        """Keep other calls, of other replicas too, that begin or end things of a dataset out while objects of
        it are being removed."""
        return self.records.lock(dataset)


def dataset_of(name: str) -> str:
    """The name of the dataset that an upload or a version belongs to."""
    return "/".join(name.split("/")[:2])


def being_built(versions: Rows[DatasetVersion], dataset: str) -> DatasetVersion | None:
    """A version of the dataset that is being built, if there is one."""
    return next(versions.each(parent=dataset, index=life.ACTIVE), None)
