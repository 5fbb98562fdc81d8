"""Uploads: their resources, and the parts of the files they stand for."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial

from lepton.dataset.v1.dataset_pb2 import Upload, WriteUploadRequest
from lepton_common.errors import ChecksumMismatch, FieldViolation, InUse, InvalidField, LeptonError, NotFound
from lepton_common.jobs import job as life
from lepton_common.objects import ObjectStore
from lepton_common.records import Page, Transaction
from lepton_data_ingest import uploads
from lepton_data_ingest.adapters.collections import Collections, dataset_of
from lepton_data_ingest.uploads import Assembly, Part

_HEAR_OUT_SECONDS = 2.0


class Uploads:
    """The uploads of all datasets."""

    def __init__(self, collections: Collections, objects: ObjectStore) -> None:
        """Keep them in `collections`, their bytes in `objects`."""
        self._all = collections
        self._objects = objects

    async def create(self, dataset: str, announced: Upload, *, request_id: str) -> Upload:
        """Announce a file; if the dataset has it already, that upload is returned.

        Raises:
            NotFound: there is no such dataset.
        """
        upload = Upload(
            filename=announced.filename,
            size_bytes=announced.size_bytes,
            sha256=announced.sha256,
            labels=announced.labels,
        )

        def body(transaction: Transaction) -> Upload:
            transaction.rows(self._all.datasets).get(dataset)
            rows = transaction.rows(self._all.uploads)
            for known in rows.each(parent=dataset, index=upload.sha256):
                # Under another name it is another file: the name can tell the format.
                if (known.size_bytes, known.filename) == (upload.size_bytes, upload.filename):
                    return known
            return rows.create_numbered(dataset, "uploads", upload, request_id=request_id)

        return await self._all.records.transaction(body, self._all.datasets, self._all.uploads)

    async def get(self, name: str) -> Upload:
        """Return an upload, or raise NotFound."""
        return await self._all.uploads.get(name)

    async def list(
        self, dataset: str, *, page_size: int, page_token: str, labels: Mapping[str, str]
    ) -> Page[Upload]:
        """Return a page of a dataset's uploads, by number.

        Raises:
            NotFound: there is no such dataset.
        """
        await self._all.datasets.get(dataset)
        return await self._all.uploads.list(
            parent=dataset, page_size=page_size, page_token=page_token, labels=labels
        )

    async def delete(self, name: str) -> None:
        """Remove an upload and its bytes.

        Raises:
            NotFound: there is none of this name.
            InUse: a version is being built from it.
        """

        def body(transaction: Transaction) -> Upload:
            rows = transaction.rows(self._all.uploads)
            upload = rows.get(name)
            versions = transaction.rows(self._all.versions)
            for version in versions.each(parent=dataset_of(name), index=life.ACTIVE):
                if any(source.upload == name for source in version.spec.sources):
                    raise InUse(
                        f"{version.name!r} is being built from it",
                        metadata={"name": name, "version": version.name},
                    )
            rows.delete(name)
            return upload

        upload = await self._all.records.transaction(body, self._all.uploads, self._all.versions)
        await asyncio.to_thread(self._objects.delete_prefix, self._folder(upload))

    async def write(self, pieces: AsyncIterator[WriteUploadRequest]) -> Upload:
        """Take in pieces of a file until they end, break off, or say that the file is whole.

        What was committed stays, however the pieces end.

        Raises:
            InvalidField: the first piece names no upload, or a later one another.
            NotFound: there is no such upload.
            WrongOffset: a piece is not the next one, or another writer was faster.
            TooLarge: there is more than was announced.
            ChecksumMismatch: the file is not the one that was announced.
        """
        try:
            return await self._write(pieces)
        except LeptonError:
            # A client that still sends when its call ends may not learn why: gRPC's own in Python reports an
            # internal error instead. One that is soon through is heard out.
            with suppress(TimeoutError):
                async with asyncio.timeout(_HEAR_OUT_SECONDS):
                    async for _ in pieces:
                        continue
            raise

    async def _write(self, pieces: AsyncIterator[WriteUploadRequest]) -> Upload:
        writer: _Writer | None = None
        async for piece in pieces:
            if writer is None:
                writer = _Writer(await self._first(piece), self._all, self._objects)
            elif piece.name not in ("", writer.upload.name):
                raise _unnamed("every piece of a stream belongs to the upload that the first one names")
            await writer.take(piece.offset, piece.data)
            if piece.finish:
                return await writer.finish()
        if writer is None:
            raise _unnamed("the stream was empty")
        return writer.upload

    async def _first(self, piece: WriteUploadRequest) -> Upload:
        if not piece.name:
            raise _unnamed("the first piece of a stream must name its upload")
        return await self._all.uploads.get(piece.name)

    def _folder(self, upload: Upload) -> str:
        return uploads.prefix(dataset_of(upload.name), upload.uid)


class _Writer:
    """One stream of pieces on its way into one upload."""

    def __init__(self, upload: Upload, collections: Collections, objects: ObjectStore) -> None:
        self.upload = upload
        self._uploads = collections.uploads
        self._objects = objects
        self._folder = uploads.prefix(dataset_of(upload.name), upload.uid)
        self._assembly = Assembly(committed_size=upload.committed_size, size_bytes=upload.size_bytes)
        self._digest = hashlib.sha256()
        # The digest of what passed here is that of what is stored only if every part was stored from here.
        self._stored_all = upload.committed_size == 0

    async def take(self, offset: int, data: bytes) -> None:
        """Take one piece: store and commit what it makes whole."""
        for part in self._assembly.take(offset, data):
            if not await asyncio.to_thread(self._store, part):
                self._stored_all = False
            try:
                self.upload = await self._uploads.update(self.upload.name, partial(_commit, part))
            except NotFound:
                # Deleted meanwhile: take away what came after.
                await asyncio.to_thread(self._objects.delete_prefix, self._folder)
                raise

    def _store(self, part: Part) -> bool:
        self._digest.update(part.data)
        return uploads.store_part(self._objects, self._folder, part)

    async def finish(self) -> Upload:
        """Check the digest and complete the upload; one that is complete stays so."""
        upload = self.upload
        if upload.complete:
            return upload
        if self._assembly.received < upload.size_bytes:
            raise ChecksumMismatch(
                f"the file ends after {self._assembly.received} of the {upload.size_bytes} announced bytes",
                metadata={
                    "expected_size_bytes": str(upload.size_bytes),
                    "size_bytes": str(self._assembly.received),
                    "committed_size": str(upload.committed_size),
                },
            )
        digest, size = self._digest.hexdigest(), upload.size_bytes
        if not self._stored_all:
            digest, size = await asyncio.to_thread(uploads.stored_digest, self._objects, self._folder)
        if (digest, size) == (upload.sha256, upload.size_bytes):
            return await self._uploads.update(upload.name, _complete)
        # The parts go first: if this is cut off, the next finish finds them missing and comes here again.
        await asyncio.to_thread(self._objects.delete_prefix, self._folder)
        await self._uploads.update(upload.name, _restart)
        raise uploads.checksum_mismatch(expected=upload.sha256, found=digest)


def _commit(part: Part, upload: Upload) -> None:
    if upload.complete or upload.committed_size != part.offset:
        raise uploads.wrong_offset(part.offset, committed_size=upload.committed_size)
    upload.committed_size = part.end


def _complete(upload: Upload) -> None:
    if upload.committed_size != upload.size_bytes:
        raise uploads.wrong_offset(upload.size_bytes, committed_size=upload.committed_size)
    upload.complete = True


def _restart(upload: Upload) -> None:
    if not upload.complete:
        upload.committed_size = 0


def _unnamed(description: str) -> InvalidField:
    return InvalidField(
        f"no upload is named: {description}", violations=[FieldViolation("name", description)]
    )
