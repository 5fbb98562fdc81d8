"""Files of model versions on this server: fetched once, checked always."""

from pathlib import Path

import pytest

from lepton_common.errors import ChecksumMismatch, InvalidModel, NotFound
from lepton_common.manifests import Blob, put_blob
from lepton_common.objects import ObjectStore
from lepton_inference.artifacts import Artifacts
from lepton_inference.catalogue import Version


@pytest.fixture
def artifacts(store: ObjectStore, tmp_path: Path) -> Artifacts:
    return Artifacts(store, tmp_path / "cache")


@pytest.fixture
def version(store: ObjectStore) -> Version:
    files = {path: put_blob(store, "models", path.encode()) for path in ("model.onnx", "data/weights.bin")}
    return Version("models/m/versions/1", digest="d1", files=files)


def test_all_files_are_fetched_to_their_places(artifacts: Artifacts, version: Version) -> None:
    folder = artifacts.fetch(version)
    assert (folder / "model.onnx").read_bytes() == b"model.onnx"
    assert (folder / "data" / "weights.bin").read_bytes() == b"data/weights.bin"


def test_what_is_here_needs_no_store(artifacts: Artifacts, version: Version, store: ObjectStore) -> None:
    artifacts.fetch(version)
    store.delete_prefix("models")
    assert (artifacts.fetch(version) / "model.onnx").exists()


def test_a_damaged_copy_is_fetched_again(artifacts: Artifacts, version: Version) -> None:
    model = artifacts.fetch(version) / "model.onnx"
    model.write_bytes(b"other.onnx")
    artifacts.fetch(version)
    assert model.read_bytes() == b"model.onnx"


def test_content_that_is_not_as_registered_is_refused(
    artifacts: Artifacts, version: Version, store: ObjectStore
) -> None:
    store.put(version.files["model.onnx"].key, b"other.onnx")
    with pytest.raises(ChecksumMismatch):
        artifacts.fetch(version)


def test_nothing_is_left_of_a_file_that_was_refused(
    artifacts: Artifacts, version: Version, store: ObjectStore, tmp_path: Path
) -> None:
    store.put(version.files["model.onnx"].key, b"other.onnx")
    with pytest.raises(ChecksumMismatch):
        artifacts.fetch(version)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_file_that_is_gone_is_told(artifacts: Artifacts, version: Version, store: ObjectStore) -> None:
    store.delete_prefix("models")
    with pytest.raises(NotFound):
        artifacts.fetch(version)


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_path_that_leaves_the_folder_is_refused(
    artifacts: Artifacts, store: ObjectStore, path: str
) -> None:
    blob = put_blob(store, "models", b"x")
    with pytest.raises(InvalidModel, match="leaves the artifact"):
        artifacts.fetch(Version("models/m/versions/1", digest="d1", files={path: blob}))


@pytest.mark.parametrize("digest", ["", "..", "a/b"])
def test_a_digest_that_is_none_is_refused(artifacts: Artifacts, digest: str) -> None:
    files = {"model.onnx": Blob("k", "0" * 64, 1)}
    with pytest.raises(InvalidModel):
        artifacts.fetch(Version("models/m/versions/1", digest=digest, files=files))


def test_only_what_is_kept_stays(artifacts: Artifacts, version: Version) -> None:
    folder = artifacts.fetch(version)
    artifacts.prune([version.digest])
    assert folder.exists()
    artifacts.prune([])
    assert not folder.exists()
