"""The files of model versions, copied out of the object store into a folder of this server.

A version lies in a folder named by its digest, file by file as in the store. What is there
is checked before it is used, also after a restart: a damaged copy is fetched again.
"""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from lepton_common.errors import DependencyUnavailable, InvalidModel
from lepton_common.manifests import Blob, fetch_blob
from lepton_common.objects import ObjectStore
from lepton_inference.catalogue import Version


class Artifacts:
    """The folder and the store. Its calls block."""

    def __init__(self, store: ObjectStore, directory: Path) -> None:
        self._store = store
        self._directory = directory

    def fetch(self, version: Version) -> Path:
        """The folder with all files of the version, each with its digest checked.

        Raises:
            ChecksumMismatch, NotFound: the store does not have what was registered.
            DependencyUnavailable: the store or the local disk does not do its part.
            InvalidModel: a path leaves the folder.
        """
        folder = self._directory / _safe_name(version.digest)
        for path, blob in version.files.items():
            target = folder / path
            if not target.resolve().is_relative_to(folder.resolve()):
                raise InvalidModel(f"the path {path!r} leaves the artifact")
            try:
                if not _has_content(target, blob):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    fetch_blob(self._store, blob, target)
            except OSError as error:
                raise DependencyUnavailable("the model cache cannot be written") from error
        return folder

    def prune(self, keep: Iterable[str]) -> None:
        """Deletes the folders of all versions but those with these digests."""
        wanted = {_safe_name(digest) for digest in keep}
        if not self._directory.exists():
            return
        for folder in self._directory.iterdir():
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)


def _safe_name(digest: str) -> str:
    if not (digest.isalnum() and digest.isascii()):
        raise InvalidModel("the version has no digest")
    return digest


def _has_content(path: Path, blob: Blob) -> bool:
    if not path.is_file() or path.stat().st_size != blob.size_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == blob.sha256
