"""Whatever bytes a file has: it is read, or refused with a named error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_common.errors import LeptonError
from lepton_data_ingest.formats.format import Format
from lepton_data_ingest.formats.images import UnusableImage, decode
from lepton_data_ingest.formats.records import Pictures
from lepton_data_ingest.order import Source
from lepton_data_ingest.schema import DraftSchema
from lepton_data_ingest.sources import LocalFile, grouped, open_group

TRIALS = 150


def a_file(files: Any, digits: Any, kind: str) -> tuple[Path, Format]:
    """A good file of ten digits."""
    images, labels = digits[0][:10], digits[1][:10]
    match kind:
        case "csv":
            rows = [f'{label},"{label}",x' for label in labels]
            return files.csv("x.csv", "a,b,c", *rows), Format.CSV
        case "parquet":
            columns = {"image": [image.ravel() for image in images], "label": labels, "word": ["a"] * 10}
            return files.parquet("x.parquet", **columns), Format.PARQUET
        case "npz":
            words = np.array(["eins", "zwei"] * 5)
            path = files.npz("x.npz", image=images, label=labels, word=words, compressed=True)
            return path, Format.NPZ
        case "idx":
            return files.idx("x.idx", images), Format.IDX
        case "idx.gz":
            return files.idx("x.idx.gz", images, compressed=True), Format.IDX
        case "tar":
            return files.image_tar("x.tar", images, labels), Format.IMAGE_TAR
        case _:
            return files.image_tar("x.tar.gz", images, labels, mode="w:gz"), Format.IMAGE_TAR


def read_all(path: Path, kind: Format) -> None:
    """Read and decode everything."""
    source = Source(
        upload="u", filename=path.name, sha256="", size_bytes=0, parts="", format=kind, column="x"
    )
    [group] = grouped([LocalFile(source, path, kind)], DraftSchema())
    for batch in open_group(group, DraftSchema()).batches:
        for column in batch.columns.values():
            assert len(column) == len(batch.places)
            for file in column.files if isinstance(column, Pictures) else ():
                try:
                    decode(file or b"")
                except UnusableImage:
                    continue


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz", "idx", "idx.gz", "tar", "tar.gz"])
@pytest.mark.parametrize("damage", ["cut", "changed", "spliced"])
def test_damage_anywhere_ends_in_records_or_a_named_error(
    files: Any, digits: Any, kind: str, damage: str
) -> None:
    path, form = a_file(files, digits, kind)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    read_all(path, form)
    for _ in range(TRIALS):
        data = bytearray(whole)
        place = int(random.integers(len(data)))
        if damage == "cut":
            del data[place:]
        elif damage == "changed":
            data[place] = int(random.integers(256))
        else:
            del data[place : place + int(random.integers(1, 50))]
        path.write_bytes(data)
        try:
            read_all(path, form)
        except LeptonError as error:
            assert path.name in error.message, error.message
