"""The bytes of model versions, in the object store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from lepton.model.v1.model_pb2 import ArtifactFile
from lepton_common.errors import ChecksumMismatch
from lepton_common.objects import ObjectStore

CHUNK_BYTES = 1 << 20
"""Longest piece that is sent at once."""


class Artifacts:
    """Reads the files of model versions."""

    def __init__(self, objects: ObjectStore) -> None:
        """Read from `objects`."""
        self._objects = objects

    async def read(self, file: ArtifactFile) -> AsyncIterator[bytes]:
        """Give a file's bytes, in pieces; the last one only when all of them are what was registered.

        Raises:
            NotFound: The bytes are gone.
            ChecksumMismatch: They are others, or more.
            DependencyUnavailable: The store does not answer.
        """
        digest, size, held = hashlib.sha256(), 0, b""
        chunks = self._objects.stream(file.key)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            digest.update(chunk)
            size += len(chunk)
            if size > file.size_bytes:
                break
            for start in range(0, len(chunk), CHUNK_BYTES):
                if held:
                    yield held
                held = bytes(chunk[start : start + CHUNK_BYTES])
        if (digest.hexdigest(), size) != (file.sha256, file.size_bytes):
            raise ChecksumMismatch(
                f"the bytes of {file.path!r} are not those that were registered",
                metadata={"path": file.path, "sha256": file.sha256},
            )
        if held:
            yield held
