"""Datasets in the resource store."""

import asyncio
from collections.abc import Mapping

from google.protobuf.json_format import MessageToDict

from lepton.dataset.v1.dataset_pb2 import Dataset, DatasetVersion, Schema
from lepton_common.errors import WrongState
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.launcher import Launcher
from lepton_common.objects import ObjectStore
from lepton_common.records import Page, Transaction
from lepton_data_ingest.adapters.collections import Collections, being_built
from lepton_data_ingest.schema import DraftSchema


class Datasets:
    """Datasets, each with all that is below it."""

    def __init__(self, collections: Collections, objects: ObjectStore, *, launcher: Launcher) -> None:
        """Keep them in `collections`, their bytes in `objects`; `launcher` ran their jobs."""
        self._all = collections
        self._objects = objects
        self._launcher = launcher

    async def create(self, dataset: Dataset, *, request_id: str) -> Dataset:
        """Add a dataset.

        Raises:
            InvalidField: its schema cannot be right for any sources.
            AlreadyExists: there is one of this name, made by another request.
        """
        draft(dataset.schema).check()
        async with self._all.alone(dataset.name):
            return await self._all.datasets.create(dataset, request_id=request_id)

    async def get(self, name: str) -> Dataset:
        """Return a dataset, or raise NotFound."""
        return await self._all.datasets.get(name)

    async def list(self, *, page_size: int, page_token: str, labels: Mapping[str, str]) -> Page[Dataset]:
        """Return a page of datasets, by name."""
        return await self._all.datasets.list(page_size=page_size, page_token=page_token, labels=labels)

    async def delete(self, name: str, *, etag: str) -> None:
        """Remove a dataset with its uploads, its versions and all their bytes.

        The resources go first and together: nothing is ever left that names bytes which are gone.

        Raises:
            NotFound: there is none of this name.
            EtagMismatch: `etag` is given, and it has another.
            WrongState: a version is being built.
        """

        def body(transaction: Transaction) -> list[DatasetVersion]:
            versions = transaction.rows(self._all.versions)
            transaction.rows(self._all.datasets).delete(name, etag=etag)
            busy = being_built(versions, name)
            if busy is not None:
                raise WrongState(
                    f"{busy.name!r} is being built: cancel it first, or wait", metadata={"name": busy.name}
                )
            removed = list(versions.each(parent=name))
            versions.delete_children(name)
            transaction.rows(self._all.uploads).delete_children(name)
            return removed

        async with self._all.alone(name):
            removed = await self._all.records.transaction(
                body, self._all.datasets, self._all.versions, self._all.uploads
            )
            for version in removed:
                await self._launcher.clean(life.key(version))
                await asyncio.to_thread(self._objects.delete_prefix, files.prefix(life.key(version)))
            await asyncio.to_thread(self._objects.delete_prefix, name)


def draft(schema: Schema) -> DraftSchema:
    """The schema of the contract as this package knows it."""
    return DraftSchema.from_json(MessageToDict(schema, preserving_proto_field_name=True))
