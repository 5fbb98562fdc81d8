"""Datasets, uploads and versions that cannot be."""

import math
from typing import Any

from google.protobuf.message import Message

from lepton.dataset.v1 import dataset_pb2 as dataset
from lepton_common.errors import AlreadyExists, EtagMismatch, InvalidField, NotFound, WrongState

from .refusal import ID_RULE, PAGE_RULE, SHA, Refusals, refusal

SERIES = dataset.Series(time_column="t", window=8, horizon=1)


def column(name: str, **facts: Any) -> dataset.Column:
    return dataset.Column(name=name, **facts)


def create_dataset(dataset_id: str, *columns: dataset.Column, label: str = "label") -> Message:
    schema = dataset.Schema(columns=columns, label=label) if columns else None
    return dataset.CreateDatasetRequest(dataset_id=dataset_id, dataset=dataset.Dataset(schema=schema))


def create_upload(parent: str, **facts: Any) -> Message:
    upload: dict[str, Any] = {"filename": "a.csv", "size_bytes": 9, "sha256": SHA} | facts
    return dataset.CreateUploadRequest(parent=parent, upload=dataset.Upload(**upload))


def create_version(*uploads: str, **spec: Any) -> Message:
    sources = [dataset.Source(upload=upload) for upload in uploads]
    version = dataset.DatasetVersion(spec=dataset.DatasetVersionSpec(sources=sources, **spec))
    return dataset.CreateDatasetVersionRequest(parent="datasets/flowers", dataset_version=version)


DATASETS: Refusals = {
    "an unknown dataset": refusal(
        dataset.GetDatasetRequest(name="datasets/nope"), NotFound, "'datasets/nope'"
    ),
    "a name that climbs": refusal(
        dataset.GetDatasetRequest(name="datasets/../etc/passwd"),
        InvalidField,
        "name",
        "^datasets/[a-z0-9-]+$",
    ),
    "an id that climbs": refusal(create_dataset("../etc"), InvalidField, "dataset_id", ID_RULE),
    "an id of 64 letters": refusal(create_dataset("a" * 64), InvalidField, "dataset_id", ID_RULE),
    "an id that is taken": refusal(create_dataset("flowers"), AlreadyExists, "'datasets/flowers'"),
    "two columns of one name": refusal(
        create_dataset("twins", column("x"), column("x"), column("label")), InvalidField, "'x'"
    ),
    "a label that is no column": refusal(
        create_dataset("blind", column("x"), label="kind"), InvalidField, "'kind'"
    ),
    "a transform that does not fit": refusal(
        create_dataset(
            "odd",
            column("x", type=dataset.COLUMN_TYPE_IMAGE, transform=dataset.TRANSFORM_ONE_HOT),
            column("label"),
        ),
        InvalidField,
        "x",
        "one_hot",
    ),
    "a bound that is NaN": refusal(
        create_dataset(
            "nan", column("x", type=dataset.COLUMN_TYPE_NUMBER, minimum=math.nan), column("label")
        ),
        InvalidField,
        "schema.columns[0].minimum",
        "finite",
    ),
    "bounds without a value between them": refusal(
        create_dataset(
            "none", column("x", type=dataset.COLUMN_TYPE_NUMBER, minimum=2, maximum=1), column("label")
        ),
        InvalidField,
        "x",
        "minimum",
    ),
    "a shape of more elements than memory": refusal(
        create_dataset(
            "vast", column("x", type=dataset.COLUMN_TYPE_TENSOR, shape=[1 << 20] * 8), column("label")
        ),
        InvalidField,
        "schema.columns[0].shape",
        "at most 67108864 elements",
    ),
    "an upload to an unknown dataset": refusal(create_upload("datasets/nope"), NotFound, "'datasets/nope'"),
    "a file name that climbs": refusal(
        create_upload("datasets/flowers", filename="../../etc/passwd"), InvalidField, "upload.filename"
    ),
    "an empty file": refusal(
        create_upload("datasets/flowers", size_bytes=0), InvalidField, "upload.size_bytes", "0"
    ),
    "a file of a negative length": refusal(
        create_upload("datasets/flowers", size_bytes=-1), InvalidField, "upload.size_bytes", "0"
    ),
    "a file of 2 TB": refusal(
        create_upload("datasets/flowers", size_bytes=2 << 40),
        InvalidField,
        "upload.size_bytes",
        "1099511627776",
    ),
    "a checksum that is none": refusal(
        create_upload("datasets/flowers", sha256="abc"), InvalidField, "upload.sha256", "^[0-9a-f]{64}$"
    ),
    "a version of nothing": refusal(create_version(), InvalidField, "spec.sources", "1"),
    "a version of an unknown upload": refusal(
        create_version("datasets/flowers/uploads/99"), NotFound, "'datasets/flowers/uploads/99'"
    ),
    "a version of an unfinished upload": refusal(
        create_version("datasets/flowers/uploads/2"),
        WrongState,
        "'datasets/flowers/uploads/2'",
        "0 of 9 bytes",
    ),
    "a version of another dataset's upload": refusal(
        create_version("datasets/pictures/uploads/1"), InvalidField, "sources[0].upload", "'datasets/flowers'"
    ),
    "a version of a path": refusal(
        create_version("/etc/passwd"), InvalidField, "sources[0].upload", "'datasets/flowers'"
    ),
    "splits that leave nothing for training": refusal(
        create_version(
            "datasets/flowers/uploads/1", fractions=dataset.SplitFractions(validation=0.5, test=0.5)
        ),
        InvalidField,
        "spec.fractions",
        "below 1",
    ),
    "a split of NaN": refusal(
        create_version("datasets/flowers/uploads/1", fractions=dataset.SplitFractions(test=math.nan)),
        InvalidField,
        "spec.fractions.test",
    ),
    "series without a column to forecast": refusal(
        create_version("datasets/flowers/uploads/1", schema=dataset.Schema(series=SERIES)),
        InvalidField,
        "schema.label",
        "name the column to forecast",
    ),
    "series without a window": refusal(
        create_version(
            "datasets/flowers/uploads/1",
            schema=dataset.Schema(label="y", series=dataset.Series(time_column="t", horizon=1)),
        ),
        InvalidField,
        "spec.schema.series.window",
        "2",
    ),
    "a season longer than the window": refusal(
        create_version(
            "datasets/flowers/uploads/1",
            schema=dataset.Schema(
                label="y", series=dataset.Series(time_column="t", window=8, horizon=1, season=9)
            ),
        ),
        InvalidField,
        "schema.series.season",
        "less than the window, 8",
    ),
    "series whose test split is given": refusal(
        dataset.CreateDatasetVersionRequest(
            parent="datasets/flowers",
            dataset_version=dataset.DatasetVersion(
                spec=dataset.DatasetVersionSpec(
                    sources=[dataset.Source(upload="datasets/flowers/uploads/1", split=dataset.SPLIT_TEST)],
                    schema=dataset.Schema(label="y", series=SERIES),
                )
            ),
        ),
        InvalidField,
        "spec.sources",
        "divided by time",
    ),
    "an unknown version": refusal(
        dataset.GetDatasetVersionRequest(name="datasets/flowers/versions/99"),
        NotFound,
        "'datasets/flowers/versions/99'",
    ),
    "an etag of yesterday": refusal(
        dataset.DeleteDatasetRequest(name="datasets/flowers", etag="old"),
        EtagMismatch,
        "'datasets/flowers'",
        "read it again",
    ),
    "a watch of nothing": refusal(
        dataset.WatchDatasetVersionRequest(name="datasets/flowers/versions/99"),
        NotFound,
        "'datasets/flowers/versions/99'",
    ),
    "a page token of no list of datasets": refusal(
        dataset.ListDatasetsRequest(page_token="x"), InvalidField, "page_token", PAGE_RULE
    ),
    "a page token of no list of uploads": refusal(
        dataset.ListUploadsRequest(parent="datasets/flowers", page_token="%"),
        InvalidField,
        "page_token",
        PAGE_RULE,
    ),
    "a page token of no list of versions": refusal(
        dataset.ListDatasetVersionsRequest(parent="datasets/flowers", page_token="ÿ"),
        InvalidField,
        "page_token",
        PAGE_RULE,
    ),
    "a negative page": refusal(dataset.ListDatasetsRequest(page_size=-1), InvalidField, "page_size", "0"),
}
