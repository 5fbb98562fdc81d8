"""The building of versions as a kind of job."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from lepton.dataset.v1.dataset_pb2 import (
    ColumnStatistics,
    DatasetVersion,
    Format,
    Rejection,
    Schema,
    SeriesStatistics,
    Split,
    SplitCounts,
)
from lepton_common.jobs.kind import Work
from lepton_common.records import Collection
from lepton_data_ingest import uploads
from lepton_data_ingest.adapters.collections import Collections, dataset_of

_WORKER = "lepton_data_ingest.worker"


class VersionBuilds:
    """Builds of dataset versions, one worker each."""

    def __init__(self, collections: Collections) -> None:
        """Build the versions in `collections`."""
        self._all = collections

    @property
    def collection(self) -> Collection[DatasetVersion]:
        """The versions."""
        return self._all.versions

    async def launch(self, job: DatasetVersion) -> Work:
        """What the worker is to do; uploads in use cannot be deleted, so it is the same at every call."""
        dataset = dataset_of(job.name)
        sources = []
        for source, file in zip(job.spec.sources, job.source_files, strict=True):
            upload = await self._all.uploads.get(source.upload)
            sources.append(
                {
                    "upload": upload.name,
                    "filename": file.filename,
                    "sha256": file.sha256,
                    "size_bytes": file.size_bytes,
                    "parts": uploads.prefix(dataset, upload.uid),
                    "format": _word(Format.Name(source.format), "FORMAT_"),
                    "split": _word(Split.Name(source.split), "SPLIT_"),
                    "column": source.column,
                }
            )
        spec = {
            "dataset": dataset.removeprefix("datasets/"),
            "sources": sources,
            "schema": MessageToDict(job.schema, preserving_proto_field_name=True),
            "spec": MessageToDict(job.spec, preserving_proto_field_name=True),
        }
        return Work(module=_WORKER, spec=spec)

    async def complete(
        self, job: DatasetVersion, outcome: Mapping[str, Any]
    ) -> Callable[[DatasetVersion], None]:
        """Write down what was built; its bytes are in the object store already."""
        schema = ParseDict(outcome["schema"], Schema())
        counts = ParseDict(outcome["counts"], SplitCounts())
        rejections = [ParseDict(rejection, Rejection()) for rejection in outcome["rejections"]]
        statistics = [ParseDict(column, ColumnStatistics()) for column in outcome["statistics"]]
        series = outcome.get("series")

        def change(version: DatasetVersion) -> None:
            version.schema.CopyFrom(schema)
            version.counts.CopyFrom(counts)
            version.rejected = outcome["rejected"]
            version.ClearField("rejections")
            version.rejections.extend(rejections)
            version.ClearField("statistics")
            version.statistics.extend(statistics)
            if series:
                version.series.CopyFrom(ParseDict(series, SeriesStatistics()))
            version.digest = outcome["manifest"]["sha256"]
            version.manifest = outcome["manifest"]["key"]
            version.size_bytes = outcome["size_bytes"]

        return change


def _word(name: str, prefix: str) -> str:
    """The value of an enum as a word in lower case; empty for the unspecified one."""
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word
