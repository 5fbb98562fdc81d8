"""From files to a version: the same whatever the format, and refused with reasons where it cannot be."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_common.errors import (
    ChecksumMismatch,
    InvalidField,
    LeptonError,
    MalformedFile,
    SchemaViolation,
    TooManyRejected,
)
from lepton_data_ingest import writing
from lepton_data_ingest.build import Built
from lepton_data_ingest.formats.format import Format
from lepton_data_ingest.fractions import Fractions
from lepton_data_ingest.order import Source
from lepton_data_ingest.schema import DraftSchema
from lepton_learn.manifest import Split
from lepton_learn.reading import read_split

SPECIES = DraftSchema(label="species")
NUMBERS = DraftSchema.from_json({"columns": [{"name": "x", "type": "COLUMN_TYPE_NUMBER"}, {"name": "label"}]})


def all_records(workshop: Any, built: Built) -> dict[str, Any]:
    """The records of all splits."""
    manifest = workshop.manifest(built)
    splits = [read_split(workshop.store, manifest, split) for split in Split]
    return {name: np.concatenate([split[name] for split in splits]) for name in splits[0]}


Writer = Callable[[Any, Any, Any], list[tuple[Path, dict[str, Any]]]]

FORMATS: dict[str, Writer] = {
    "idx": lambda files, images, labels: [
        (files.idx("images", images), {}),
        (files.idx("labels", labels), {}),
    ],
    "idx-gzip": lambda files, images, labels: [
        (files.idx("labels.gz", labels, compressed=True), {"column": "label"}),
        (files.idx("images.gz", images, compressed=True), {"column": "image"}),
    ],
    "npz": lambda files, images, labels: [(files.npz("d.npz", image=images, label=labels), {})],
    "parquet": lambda files, images, labels: [
        (files.parquet("d.parquet", image=[image.ravel() for image in images], label=labels), {})
    ],
    "image-tar": lambda files, images, labels: [
        (files.image_tar("d.tar.gz", images, labels, mode="w:gz"), {"format": Format.IMAGE_TAR})
    ],
}


@pytest.mark.parametrize("form", FORMATS)
def test_digits_of_every_format_come_out_as_they_went_in(
    workshop: Any, files: Any, digits: Any, form: str
) -> None:
    images, labels = digits
    schema = DraftSchema.from_json(
        {
            "columns": [
                {"name": "image", "type": "COLUMN_TYPE_IMAGE", "shape": ["8", "8", "1"]},
                {"name": "label", "type": "COLUMN_TYPE_CATEGORY"},
            ]
        }
    )
    sources = [workshop.source(path, **facts) for path, facts in FORMATS[form](files, images, labels)]
    built = workshop.build(*sources, schema=schema)
    assert sum(built.counts.values()) == len(images)
    assert built.rejected == 0
    found = all_records(workshop, built)
    went_in = sorted(zip(labels.astype(str), (image.tobytes() for image in images), strict=True))
    came_out = sorted(zip(found["label"], (image.tobytes() for image in found["image"]), strict=True))
    assert came_out == went_in
    assert workshop.manifest(built).transform.classes == tuple("0123456789")


def test_the_same_records_are_divided_alike_from_every_format(workshop: Any, files: Any, digits: Any) -> None:
    held_out = []
    for form in ("idx", "npz"):
        sources = [workshop.source(path, **facts) for path, facts in FORMATS[form](files, *digits)]
        manifest = workshop.manifest(workshop.build(*sources))
        held_out.append(read_split(workshop.store, manifest, Split.TEST))
    assert len(held_out[0]["label"]) > 100
    for column in ("image", "label"):
        np.testing.assert_array_equal(held_out[0][column], held_out[1][column])


def test_the_same_order_gives_the_same_digest_wherever_shards_begin(
    workshop: Any, files: Any, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_SHARD_RECORDS", 100)
    source = workshop.source(files.npz("d.npz", image=digits[0], label=digits[1]))
    first = workshop.build(source)
    assert first.manifest.sha256 == workshop.build(source).manifest.sha256
    other = workshop.build(source, fractions=Fractions(seed=1))
    assert first.manifest.sha256 != other.manifest.sha256
    shards = workshop.manifest(first).shards(Split.TRAIN)
    assert [shard.records for shard in shards[:-1]] == [100] * (len(shards) - 1)
    assert first.size_bytes == sum(
        shard.blob.size_bytes for split in Split for shard in workshop.manifest(first).shards(split)
    )


def test_a_table_is_inferred_whole(workshop: Any, iris_csv: Path) -> None:
    built = workshop.build(workshop.source(iris_csv), schema=SPECIES)
    described = built.to_json()
    assert described["schema"]["columns"][0] == {
        "name": "sepal length (cm)",
        "type": "COLUMN_TYPE_NUMBER",
        "transform": "TRANSFORM_STANDARDIZE",
    }
    assert described["schema"]["columns"][-1] == {
        "name": "species",
        "type": "COLUMN_TYPE_CATEGORY",
        "transform": "TRANSFORM_INDEX",
    }
    assert sum(described["counts"].values()) == 150
    assert described["counts"]["train"] > 100
    statistics = {column["column"]: column for column in described["statistics"]}
    assert statistics["petal length (cm)"]["minimum"] == pytest.approx(1.0)
    assert sum(statistics["species"]["frequencies"].values()) == described["counts"]["train"]
    assert described["source_files"] == [
        {
            "upload": "datasets/d/uploads/iris.csv",
            "filename": "iris.csv",
            "sha256": hashlib.sha256(iris_csv.read_bytes()).hexdigest(),
            "size_bytes": iris_csv.stat().st_size,
        }
    ]
    transform = workshop.manifest(built).transform
    train = read_split(workshop.store, workshop.manifest(built), Split.TRAIN)
    assert transform.inputs(train).mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert transform.classes == ("setosa", "versicolor", "virginica")


def test_no_label_is_guessed(workshop: Any, iris_csv: Path) -> None:
    with pytest.raises(InvalidField, match="name the column to predict"):
        workshop.build(workshop.source(iris_csv))


def test_sources_keep_the_split_they_are_given(workshop: Any, files: Any, digits: Any) -> None:
    images, labels = digits
    given = {"train": slice(0, 1000), "test": slice(1000, 1797)}
    sources = []
    for split, part in given.items():
        facts = {"split": Split(split)}
        sources.append(workshop.source(files.idx(f"{split}-images", images[part]), **facts))
        sources.append(workshop.source(files.idx(f"{split}-labels", labels[part]), **facts))
    built = workshop.build(*sources)
    assert built.counts == {Split.TRAIN: 1000, Split.VALIDATION: 0, Split.TEST: 797}
    test = read_split(workshop.store, workshop.manifest(built), Split.TEST)
    np.testing.assert_array_equal(test["image"][..., 0], images[1000:])
    np.testing.assert_array_equal(test["label"], labels[1000:])


def test_validation_is_taken_from_what_has_no_split(workshop: Any, files: Any, digits: Any) -> None:
    images, labels = digits
    built = workshop.build(
        workshop.source(files.npz("rest.npz", image=images[:1500], label=labels[:1500])),
        workshop.source(files.npz("test.npz", image=images[1500:], label=labels[1500:]), split=Split.TEST),
        fractions=Fractions(0.2, 0.3),
    )
    assert built.counts[Split.TEST] == 297
    assert built.counts[Split.VALIDATION] == pytest.approx(300, abs=40)


def rows(bad: dict[int, str]) -> list[str]:
    """A thousand good rows, some replaced."""
    return ["x,y,label", *(bad.get(n, f"{n},{n * 0.5},{'ab'[n % 2]}") for n in range(1000))]


def test_bad_records_are_left_out_and_told(workshop: Any, files: Any) -> None:
    bad = {3: "3,twelve,a", 500: "500,1.5", 998: "998,nan,b", 999: "999,,b"}
    path = files.csv("d.csv", *rows(bad))
    built = workshop.build(workshop.source(path), max_rejected_fraction=0.01)
    assert sum(built.counts.values()) == 996
    assert built.to_json()["rejections"] == [
        {
            "upload": "datasets/d/uploads/d.csv",
            "record": record,
            "column": column,
            "message": message,
        }
        for record, column, message in [
            (3, "y", "'twelve' is not a number"),
            (500, "", "the row has 2 cells; expected 3"),
            (998, "y", "NaN is not a number to learn from; expected a finite number"),
            (999, "y", "the value is missing; expected a number"),
        ]
    ]


def test_too_many_bad_records_end_the_build_with_the_first_of_them(workshop: Any, files: Any) -> None:
    path = files.csv("d.csv", *rows({3: "3,twelve,a", 5: "5,thirteen,a"}))
    with pytest.raises(TooManyRejected) as caught:
        workshop.build(workshop.source(path), max_rejected_fraction=0.001)
    assert str(caught.value) == (
        "2 of 1000 records were rejected, over the allowed share of 0.001: "
        "d.csv record 3 column 'y': 'twelve' is not a number; "
        "d.csv record 5 column 'y': 'thirteen' is not a number"
    )
    assert caught.value.metadata["rejected"] == "2"
    assert caught.value.metadata["rejection_1"] == "d.csv record 5 column 'y': 'thirteen' is not a number"


def test_a_hopeless_build_ends_early(workshop: Any, files: Any) -> None:
    good = [f"{n},{n},a" for n in range(1000)]
    path = files.csv("d.csv", "x,y,label", *good, *(["?,?,?"] * 500_000))
    with pytest.raises(TooManyRejected, match=r"and [0-9]+ more"):
        workshop.build(workshop.source(path), schema=NUMBERS)
    assert workshop.told[-1][1] < 300_000


def test_records_with_a_label_that_training_never_shows_are_rejected(
    workshop: Any, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_SHARD_RECORDS", 4)
    train = files.csv("train.csv", "x,label", *(f"{n}.5,{'ab'[n % 2]}" for n in range(20)))
    test = files.csv("test.csv", "x,label", *(f"{n}.5,{'abz'[n % 3]}" for n in range(9)), *["9,z"] * 4)
    sources = [workshop.source(test, split=Split.TEST), workshop.source(train, split=Split.TRAIN)]
    built = workshop.build(*sources, max_rejected_fraction=0.5)
    assert built.counts == {Split.TRAIN: 20, Split.VALIDATION: 0, Split.TEST: 6}
    assert built.rejected == 7
    assert [(rejection.record, rejection.upload) for rejection in built.rejections] == [
        (record, "datasets/d/uploads/test.csv") for record in (2, 5, 8, 9, 10, 11, 12)
    ]
    assert built.rejections[0].message.startswith("no training record has the label 'z'")
    found = read_split(workshop.store, workshop.manifest(built), Split.TEST)
    assert found["label"].tolist() == ["a", "b"] * 3
    assert workshop.manifest(built).transform.classes == ("a", "b")
    with pytest.raises(TooManyRejected, match="7 of 33 records"):
        workshop.build(*sources)


def test_the_first_rejections_are_in_order_of_the_sources(workshop: Any, files: Any) -> None:
    first = files.csv("1.csv", "x,label", *(f"{n},{'ab'[n % 2]}" for n in range(300)), *["?,a"] * 80)
    second = files.csv("2.csv", "x,label", *["?,a"] * 80)
    sources = [workshop.source(first), workshop.source(second)]
    built = workshop.build(*sources, schema=NUMBERS, max_rejected_fraction=0.5)
    assert built.rejected == 160
    assert [(rejection.filename, rejection.record) for rejection in built.rejections] == [
        *(("1.csv", n) for n in range(300, 380)),
        *(("2.csv", n) for n in range(20)),
    ]


def test_several_files_of_a_column_stand_side_by_side_in_turn(workshop: Any, files: Any, digits: Any) -> None:
    images, labels = digits
    sources = [
        workshop.source(files.idx("images-1", images[:100])),
        workshop.source(files.idx("images-2", images[100:300])),
        workshop.source(files.idx("labels-1", labels[:100])),
        workshop.source(files.idx("labels-2", labels[100:300])),
    ]
    built = workshop.build(*sources, fractions=Fractions(0, 0))
    found = read_split(workshop.store, workshop.manifest(built), Split.TRAIN)
    np.testing.assert_array_equal(found["label"], labels[:300])
    np.testing.assert_array_equal(found["image"][..., 0], images[:300])


def test_progress_counts_records(workshop: Any, files: Any, digits: Any) -> None:
    workshop.build(workshop.source(files.npz("d.npz", image=digits[0], label=digits[1])))
    assert workshop.told[0] == ("fetching", 0, 1)
    assert workshop.told[-2:] == [("reading", 1797, 1797), ("committing", 1797, 1797)]


@pytest.fixture
def images_only(workshop: Any, files: Any, digits: Any) -> list[Source]:
    """A single IDX file."""
    return [workshop.source(files.idx("images", digits[0]))]


def test_images_without_labels_are_refused(workshop: Any, images_only: list[Source]) -> None:
    with pytest.raises(InvalidField, match="name the column to predict; none of image is called"):
        workshop.build(*images_only)


def test_a_missing_companion_is_named(
    workshop: Any, files: Any, digits: Any, images_only: list[Source]
) -> None:
    more = [
        workshop.source(files.idx("more", digits[0])),
        workshop.source(files.idx("labels", digits[1])),
    ]
    with pytest.raises(InvalidField, match="more has no IDX file of the column 'label' beside it"):
        workshop.build(*images_only, *more)


def test_changed_parts_are_noticed(workshop: Any, images_only: list[Source]) -> None:
    workshop.store.put(f"{images_only[0].parts}/{0:016x}", b"other bytes")
    with pytest.raises(ChecksumMismatch, match="images: the stored bytes are not those that were uploaded"):
        workshop.build(*images_only)


@pytest.mark.parametrize(
    ("write", "error", "text"),
    [
        (lambda files: files.csv("d.csv", "x,label"), MalformedFile, "the file ends after its header"),
        (lambda files: files.csv("d.csv", "x,label", "", ""), MalformedFile, "it holds no record"),
        (
            lambda files: files.npz("d.npz", x=np.zeros(0), label=np.zeros(0)),
            MalformedFile,
            "it holds no record",
        ),
        (
            lambda files: files.idx("d", np.zeros((0, 3), np.uint8)),
            MalformedFile,
            "it holds no record",
        ),
        (lambda files: files.write("d.parquet", b"PAR1 cut off"), MalformedFile, "the footer"),
        (lambda files: files.csv("d.csv", "x,label", "1,"), (SchemaViolation, TooManyRejected), "label"),
    ],
    ids=["only-header", "no-rows", "empty-arrays", "empty-idx", "cut-parquet", "no-labels"],
)
def test_a_file_of_nothing_is_refused(
    workshop: Any, files: Any, write: Any, error: type[LeptonError], text: str
) -> None:
    with pytest.raises(error, match=text):
        workshop.build(workshop.source(write(files)))


def test_a_version_needs_training_records(workshop: Any, files: Any) -> None:
    path = files.csv("d.csv", "x,label", "1,a", "2,b")
    with pytest.raises((SchemaViolation, TooManyRejected)):
        workshop.build(workshop.source(path, split=Split.TEST))


def test_few_images_are_unpacked_at_once_however_well_they_compress(workshop: Any, files: Any) -> None:
    images = np.zeros((3, 3000, 3000, 3), np.uint8)
    path = files.image_tar("even.tar", images, ["a", "b", "a"])
    assert path.stat().st_size < images.nbytes / 500

    built = workshop.build(workshop.source(path), max_rejected_fraction=1.0)

    assert sum(built.counts.values()) + built.rejected == 3
    assert [done for phase, done, _ in workshop.told if phase == "reading"] == [2, 3]
