"""Real digits and irises, as files of every format."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_iris

from lepton_common.objects import ObjectStore
from lepton_data_ingest.build import Built, build
from lepton_data_ingest.order import Order, Source
from lepton_learn.manifest import Manifest, load_manifest

IDX_TYPES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


@pytest.fixture(scope="session")
def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """1,797 handwritten digits: uint8 [n, 8, 8] from 0 to 255, and what they say, uint8 [n]."""
    found = load_digits()
    return (found.images * 255 / 16).astype(np.uint8), found.target.astype(np.uint8)


class Files:
    """Writes files into a folder of the test and gives their paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, data: bytes) -> Path:
        """A file of these bytes."""
        path = self.folder / name
        path.write_bytes(data)
        return path

    def idx(self, name: str, values: NDArray[Any], *, compressed: bool = False) -> Path:
        """An IDX file."""
        header = bytes([0, 0, IDX_TYPES[values.dtype.name], values.ndim])
        sizes = struct.pack(f">{values.ndim}I", *values.shape)
        data = header + sizes + values.astype(values.dtype.newbyteorder(">")).tobytes()
        return self.write(name, gzip.compress(data, mtime=0) if compressed else data)

    def npz(self, name: str, *, compressed: bool = False, **arrays: NDArray[Any]) -> Path:
        """An archive of arrays."""
        path = self.folder / name
        (np.savez_compressed if compressed else np.savez)(path, **arrays)  # type: ignore[arg-type]
        return path

    def csv(self, name: str, *rows: str) -> Path:
        """A CSV file of these lines."""
        return self.write(name, "".join(f"{row}\n" for row in rows).encode())

    def parquet(self, name: str, **columns: Any) -> Path:
        """A Parquet file."""
        path = self.folder / name
        pq.write_table(pa.table(columns), path)
        return path

    def tar(self, name: str, members: dict[str, bytes], *, mode: str = "w") -> Path:
        """An archive of files."""
        path = self.folder / name
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for member, data in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    def image_tar(
        self, name: str, images: NDArray[np.uint8], labels: NDArray[Any], *, mode: str = "w"
    ) -> Path:
        """An archive of PNG files in folders named by their label."""
        members = {
            f"{label}/{number}.png": png(image)
            for number, (image, label) in enumerate(zip(images, labels, strict=True))
        }
        return self.tar(name, members, mode=mode)


def png(image: NDArray[np.uint8], **options: Any) -> bytes:
    """An image as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Writes files into a folder of the test."""
    folder = tmp_path / "files"
    folder.mkdir()
    return Files(folder)


@pytest.fixture
def iris_csv(files: Files) -> Path:
    """150 irises: four measures in cm and the species."""
    found = load_iris()
    rows = [
        ",".join([*(f"{value:g}" for value in measures), str(found.target_names[species])])
        for measures, species in zip(found.data, found.target, strict=True)
    ]
    return files.csv("iris.csv", ",".join([*found.feature_names, "species"]), *rows)


class Workshop:
    """An object store with uploads, and builds from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ObjectStore(f"file://{folder}/objects")
        self.builds = 0
        self.told: list[tuple[str, int, int]] = []

    def source(self, path: Path, **facts: Any) -> Source:
        """The upload of a file, in parts of 10,000 bytes."""
        data = path.read_bytes()
        parts = f"datasets/d/uploads/{path.name}"
        for start in range(0, len(data), 10_000):
            self.store.put(f"{parts}/{start:016x}", data[start : start + 10_000])
        return Source(
            upload=f"datasets/d/uploads/{path.name}",
            filename=path.name,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            parts=parts,
            **facts,
        )

    def build(self, *sources: Source, **facts: Any) -> Built:
        """Build a version of the dataset `d`."""
        self.builds += 1
        scratch = self.folder / f"scratch-{self.builds}"
        scratch.mkdir()
        order = Order(dataset="d", sources=sources, **facts)
        return build(order, self.store, scratch, progress=lambda *progress: self.told.append(progress))

    def manifest(self, built: Built) -> Manifest:
        """The manifest of what was built."""
        return load_manifest(self.store, built.manifest.key, sha256=built.manifest.sha256)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """An empty object store."""
    return Workshop(tmp_path)
