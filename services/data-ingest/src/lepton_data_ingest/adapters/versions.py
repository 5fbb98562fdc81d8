"""Versions: their resources, and what they share of the object store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from google.protobuf.json_format import MessageToDict

from lepton.dataset.v1.dataset_pb2 import Dataset, DatasetVersion, DatasetVersionSpec, SourceFile, Upload
from lepton.job.v1.job_pb2 import JOB_STATE_SUCCEEDED
from lepton_common.errors import FieldViolation, InvalidField, NotFound, WrongState
from lepton_common.jobs import api as jobs
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.launcher import Launcher
from lepton_common.objects import ObjectStore
from lepton_common.records import Page, Rows, Transaction
from lepton_data_ingest import storage
from lepton_data_ingest.adapters.collections import Collections, being_built, dataset_of
from lepton_data_ingest.adapters.datasets import draft
from lepton_data_ingest.fractions import Fractions
from lepton_data_ingest.series import check_splits


class Versions:
    """The versions of all datasets."""

    def __init__(
        self,
        collections: Collections,
        objects: ObjectStore,
        *,
        launcher: Launcher,
        controller: Controller[DatasetVersion],
    ) -> None:
        """Keep them in `collections`; `controller` has them built."""
        self._all = collections
        self._objects = objects
        self._launcher = launcher
        self._controller = controller

    async def create(self, dataset: str, asked: DatasetVersion, *, request_id: str) -> DatasetVersion:
        """Accept a version to be built.

        Raises:
            NotFound: there is no such dataset, or no such upload.
            InvalidField: a source is of another dataset, or the schema or the fractions cannot be right.
            WrongState: an upload is not complete.
        """
        _check(asked.spec, dataset)

        def body(transaction: Transaction) -> DatasetVersion:
            parent = transaction.rows(self._all.datasets).get(dataset)
            files = _sources(asked.spec, transaction.rows(self._all.uploads))
            version = _queued(asked, parent, files)
            rows = transaction.rows(self._all.versions)
            return rows.create_numbered(dataset, "versions", version, request_id=request_id)

        async with self._all.alone(dataset):
            version = await self._all.records.transaction(
                body, self._all.datasets, self._all.uploads, self._all.versions
            )
        self._controller.wake()
        return version

    async def get(self, name: str) -> DatasetVersion:
        """Return a version; `.../latest` is the newest that was built.

        Raises:
            NotFound: there is none of this name.
        """
        if not name.endswith("/latest"):
            return await self._all.versions.get(name)
        dataset, token = dataset_of(name), ""
        while True:
            page = await self._all.versions.list(parent=dataset, page_token=token, newest_first=True)
            for version in page.items:
                if version.status.state == JOB_STATE_SUCCEEDED:
                    return version
            token = page.next_page_token
            if not token:
                raise NotFound(f"{dataset!r} has no version that was built", metadata={"name": name})

    async def list(
        self, dataset: str, *, page_size: int, page_token: str, labels: Mapping[str, str]
    ) -> Page[DatasetVersion]:
        """Return a page of a dataset's versions, newest first.

        Raises:
            NotFound: there is no such dataset.
        """
        await self._all.datasets.get(dataset)
        return await self._all.versions.list(
            parent=dataset, page_size=page_size, page_token=page_token, labels=labels, newest_first=True
        )

    def watch(self, name: str) -> AsyncIterator[DatasetVersion]:
        """Yield a version now and after every change, until its job has ended; raises NotFound."""
        return jobs.watch(self._all.versions, name)

    async def cancel(self, name: str) -> DatasetVersion:
        """Ask for a version not to be built; raises NotFound."""
        return await jobs.cancel(self._all.versions, name, controller=self._controller)

    async def delete(self, name: str, *, etag: str) -> None:
        """Remove a version, and the bytes that no other version of its dataset has.

        Raises:
            NotFound: there is none of this name.
            EtagMismatch: `etag` is given, and it has another.
            WrongState: it is being built.
        """
        dataset = dataset_of(name)
        async with self._all.alone(dataset):
            await jobs.delete(
                self._all.versions, name, etag=etag, launcher=self._launcher, objects=self._objects
            )
            built = await self._all.records.transaction(self._built(dataset), self._all.versions)
            if built is not None:
                await asyncio.to_thread(storage.sweep, self._objects, dataset, kept=built)

    def _built(self, dataset: str) -> Callable[[Transaction], dict[str, str] | None]:
        """Keys and digests of the manifests of a dataset; None while a build may be writing."""

        def body(transaction: Transaction) -> dict[str, str] | None:
            rows = transaction.rows(self._all.versions)
            if being_built(rows, dataset) is not None:
                return None
            return {
                version.manifest: version.digest for version in rows.each(parent=dataset) if version.manifest
            }

        return body


def _check(spec: DatasetVersionSpec, dataset: str) -> None:
    violations = [
        FieldViolation(f"dataset_version.spec.sources[{place}].upload", f"must be an upload of {dataset!r}")
        for place, source in enumerate(spec.sources)
        if not source.upload.startswith(f"{dataset}/uploads/")
    ]
    if violations:
        first = violations[0]
        raise InvalidField(f"{first.field} {first.description}", violations=violations)
    schema = draft(spec.schema)
    schema.check()
    if schema.series is not None:
        check_splits(source.split or None for source in spec.sources)
    if spec.HasField("fractions"):
        Fractions.from_json(MessageToDict(spec.fractions, preserving_proto_field_name=True)).check()


def _sources(spec: DatasetVersionSpec, uploads: Rows[Upload]) -> list[SourceFile]:
    files = []
    for source in spec.sources:
        upload = uploads.get(source.upload)
        if not upload.complete:
            raise WrongState(
                f"{upload.name!r} is not complete: it has {upload.committed_size} of"
                f" {upload.size_bytes} bytes",
                metadata={"name": upload.name, "committed_size": str(upload.committed_size)},
            )
        files.append(
            SourceFile(
                upload=upload.name,
                filename=upload.filename,
                sha256=upload.sha256,
                size_bytes=upload.size_bytes,
            )
        )
    return files


def _queued(asked: DatasetVersion, parent: Dataset, files: list[SourceFile]) -> DatasetVersion:
    version = DatasetVersion(spec=asked.spec, labels=asked.labels, status=life.queued(), source_files=files)
    # The schema in force so far: a dataset's own counts where the version brings none.
    own = asked.spec.schema
    version.schema.CopyFrom(own if own.columns or own.label else parent.schema)
    if parent.HasField("privacy_budget"):
        version.privacy_budget.CopyFrom(parent.privacy_budget)
    return version
