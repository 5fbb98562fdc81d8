"""The files of model versions, read over gRPC."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from lepton.model.v1 import model_pb2 as pb
from lepton_common.auth import mint_token
from lepton_common.errors import (
    ChecksumMismatch,
    InvalidField,
    LeptonError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from lepton_common.rpc import named_errors

from .conftest import Registry, running

MIB = 1 << 20


async def register(registry: Registry, data: bytes, **facts: str | int) -> pb.ModelVersion:
    """A version of a model and a file beside it, whose facts are those of its bytes if not given."""
    digest = hashlib.sha256(data).hexdigest()
    registry.objects.put(f"models/blobs/{digest}", data)
    told = {"sha256": digest, "size_bytes": len(data), "key": f"models/blobs/{digest}", **facts}
    files = [pb.ArtifactFile(path="model.onnx", sha256="a" * 64, size_bytes=1, key="models/blobs/a")]
    files.append(pb.ArtifactFile(path="plots/roc.png", **told))  # type: ignore[arg-type]
    return await registry.version(files=files)


async def pieces(registry: Registry, name: str, path: str = "plots/roc.png") -> list[bytes]:
    """What comes of a file."""
    with named_errors():
        request = pb.ReadModelFileRequest(name=name, path=path)
        return [response.data async for response in registry.models.ReadModelFile(request, timeout=20)]


def tokens(folder: Path, role: str) -> tuple[Path, str]:
    """A file of the tokens that count, and the one that is in it."""
    token, sha256 = mint_token()
    path = folder / "tokens.json"
    path.write_text(json.dumps({"tokens": [{"name": role, "sha256": sha256, "roles": [role]}]}))
    return path, token


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 5 * MIB // 2])
async def test_a_file_comes_in_pieces_of_a_mebibyte_at_most(registry: Registry, size: int) -> None:
    data = os.urandom(size)
    version = await register(registry, data)
    for name in (version.name, "models/digits/versions/latest"):
        found = await pieces(registry, name)
        assert b"".join(found) == data
        assert all(0 < len(piece) <= MIB for piece in found)


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        pytest.param({"sha256": "b" * 64}, ChecksumMismatch, id="other bytes"),
        pytest.param({"size_bytes": 2 * MIB - 1}, ChecksumMismatch, id="more bytes"),
        pytest.param({"size_bytes": 2 * MIB + 1}, ChecksumMismatch, id="fewer bytes"),
        pytest.param({"key": "models/blobs/gone"}, NotFound, id="no bytes"),
    ],
)
async def test_bytes_that_were_not_registered_never_come_whole(
    registry: Registry, facts: dict[str, str | int], error: type[LeptonError]
) -> None:
    version = await register(registry, os.urandom(2 * MIB), **facts)
    came = 0
    with pytest.raises(error), named_errors():
        request = pb.ReadModelFileRequest(name=version.name, path="plots/roc.png")
        async for response in registry.models.ReadModelFile(request, timeout=20):
            came += len(response.data)
    assert came < 2 * MIB


@pytest.mark.parametrize(
    ("path", "error"),
    [
        pytest.param("plots/confusion.png", NotFound, id="a file that the version has not"),
        pytest.param("plots", NotFound, id="a folder"),
        pytest.param("../records.db", InvalidField, id="a path that climbs"),
        pytest.param("/etc/passwd", InvalidField, id="an absolute path"),
        pytest.param("", InvalidField, id="no path"),
    ],
)
async def test_only_files_of_the_version_can_be_read(
    registry: Registry, path: str, error: type[LeptonError]
) -> None:
    version = await register(registry, b"picture")
    with pytest.raises(error):
        await pieces(registry, version.name, path)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("models/digits/versions/7", NotFound, id="a version that is not there"),
        pytest.param("models/letters/versions/latest", NotFound, id="the latest of no model"),
        pytest.param("models/digits", InvalidField, id="a model"),
        pytest.param("models/digits/versions/01/../1", InvalidField, id="a name that climbs"),
        pytest.param("", InvalidField, id="no name"),
    ],
)
async def test_what_is_no_version_has_no_files(
    registry: Registry, name: str, error: type[LeptonError]
) -> None:
    await register(registry, b"picture")
    with pytest.raises(error):
        await pieces(registry, name)


@pytest.mark.parametrize("role", ["reader", "writer", "admin"])
async def test_who_may_look_at_a_version_may_read_its_files(
    registry: Registry, database_url: str, tmp_path: Path, role: str
) -> None:
    version = await register(registry, b"picture")
    token_file, token = tokens(tmp_path, role)
    async with running(database_url, registry.objects, token_file=token_file, token=token) as guarded:
        assert await pieces(guarded, version.name) == [b"picture"]


async def test_nobody_else_may(registry: Registry, database_url: str, tmp_path: Path) -> None:
    version = await register(registry, b"picture")
    token_file, predictor = tokens(tmp_path, "predictor")
    for token, error in ((predictor, PermissionDenied), (None, Unauthenticated)):
        async with running(database_url, registry.objects, token_file=token_file, token=token) as guarded:
            with pytest.raises(error):
                await pieces(guarded, version.name)
