"""The files of model versions, read over gRPC."""

import hashlib
import os

import pytest

from lepton.model.v1 import model_pb2 as pb
from lepton_common.errors import ChecksumMismatch, InvalidField, LeptonError, NotFound
from lepton_common.rpc import named_errors

from .conftest import Registry

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
        pytest.param("", InvalidField, id="no path"),
    ],
)
async def test_only_files_of_the_version_can_be_read(
    registry: Registry, path: str, error: type[LeptonError]
) -> None:
    version = await register(registry, b"picture")
    with pytest.raises(error):
        await pieces(registry, version.name, path)


async def test_an_unknown_version_has_no_files(registry: Registry) -> None:
    with pytest.raises(NotFound, match="models/digits/versions/7"):
        await pieces(registry, "models/digits/versions/7")
