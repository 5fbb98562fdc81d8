"""Where a learning run is, kept so that the next attempt goes on from there, on any machine."""

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import ChecksumMismatch
from lepton_common.manifests import Blob, get_blob, put_blob
from lepton_common.objects import ObjectStore

_KEPT = 2
"""Checkpoints that are kept: the last, and one more in case that the last cannot be read."""

_STEP_DIGITS = 12


class Checkpoints:
    """Checkpoints of one run, `<prefix>/checkpoints/<step>/blobs/<sha256>`.

    The key holds the digest, so what a worker that was cut off writes beside its successor spoils
    nothing.

    Args:
        objects: the object store.
        prefix: where in it the job keeps its files.
    """

    def __init__(self, objects: ObjectStore, prefix: str) -> None:
        self._objects = objects
        self._prefix = f"{prefix}/checkpoints"

    def save(self, step: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Keep the state after a step, and drop what is older than the one before."""
        sink = io.BytesIO()
        np.savez(sink, allow_pickle=False, **state)
        put_blob(self._objects, f"{self._prefix}/{step:0{_STEP_DIGITS}d}", sink.getvalue())
        for _, blob in self._saved()[:-_KEPT]:
            self._objects.delete(blob.key)

    def latest(self) -> tuple[int, dict[str, NDArray[Any]]] | None:
        """Return the latest step and its state whose bytes are whole; None if there is none."""
        for step, blob in reversed(self._saved()):
            try:
                data = get_blob(self._objects, blob)
            except ChecksumMismatch:
                continue
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return step, dict(archive)
        return None

    def _saved(self) -> list[tuple[int, Blob]]:
        pattern = re.compile(re.escape(self._prefix) + rf"/(\d{{{_STEP_DIGITS}}})/blobs/([0-9a-f]{{64}})")
        return [
            (int(match[1]), Blob(key=info.key, sha256=match[2], size_bytes=info.size))
            for info in self._objects.list(self._prefix)
            if (match := pattern.fullmatch(info.key))
        ]
