"""Dataset versions, as the dataset service tells of them."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

from contextlib import suppress

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.job.v1 import job_pb2
from lepton_common.calls import CALL_SECONDS, answered_by
from lepton_common.errors import NotFound
from lepton_trainer.budget import Cost
from lepton_trainer.training import Column, DatasetVersion, SourceFile


class Datasets:
    """Reads dataset versions."""

    def __init__(self, stub: dataset_pb2_grpc.DatasetServiceAsyncStub) -> None:
        """Call through `stub`."""
        self._stub = stub

    async def get(self, name: str) -> DatasetVersion:
        """Read a version; `.../versions/latest` gives the newest one that was built.

        Raises:
            NotFound: There is none.
            DependencyUnavailable: The dataset service does not answer.
        """
        request = dataset_pb2.GetDatasetVersionRequest(name=name)
        async with answered_by("dataset service"):
            response = await self._stub.GetDatasetVersion(request, timeout=CALL_SECONDS)
        return _decode(response.dataset_version)

    async def privacy_budget(self, name: str) -> Cost | None:
        """Return the budget of a dataset; None where it has none, or is gone.

        Raises:
            DependencyUnavailable: The dataset service does not answer.
        """
        request = dataset_pb2.GetDatasetRequest(name=name)
        with suppress(NotFound):
            async with answered_by("dataset service"):
                response = await self._stub.GetDataset(request, timeout=CALL_SECONDS)
            return _decode_budget(response.dataset)
        return None


def _decode(version: dataset_pb2.DatasetVersion) -> DatasetVersion:
    return DatasetVersion(
        name=version.name,
        state=job_pb2.JobState.Name(version.status.state).removeprefix("JOB_STATE_"),
        columns=tuple(_decode_column(column) for column in version.schema.columns),
        label=version.schema.label,
        forecasts=version.schema.HasField("series"),
        training_records=version.counts.train,
        validation_records=version.counts.validation,
        manifest=version.manifest,
        digest=version.digest,
        source_files=tuple(
            SourceFile(filename=file.filename, sha256=file.sha256) for file in version.source_files
        ),
        privacy_budget=_decode_budget(version),
    )


def _decode_budget(resource: dataset_pb2.Dataset | dataset_pb2.DatasetVersion) -> Cost | None:
    if not resource.HasField("privacy_budget"):
        return None
    return Cost(epsilon=resource.privacy_budget.epsilon, delta=resource.privacy_budget.delta)


def _decode_column(column: dataset_pb2.Column) -> Column:
    kind = dataset_pb2.ColumnType.Name(column.type).removeprefix("COLUMN_TYPE_").lower()
    transform = dataset_pb2.Transform.Name(column.transform).removeprefix("TRANSFORM_").lower()
    return Column(name=column.name, type=kind, shape=tuple(column.shape), transform=transform)
