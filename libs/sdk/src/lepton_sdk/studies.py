"""Studies: searches for the settings that train the best model."""

import uuid
from collections.abc import AsyncGenerator

from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict
from grpc import aio

from lepton.training.v1 import study_pb2, study_pb2_grpc
from lepton_sdk.calls import call, pages, watch


class Studies:
    """Calls of the trainer service."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = study_pb2_grpc.StudyServiceStub(channel)

    async def create(
        self,
        study: str,
        spec: study_pb2.StudySpec,
        *,
        labels: dict[str, str] | None = None,
        request_id: str = "",
    ) -> study_pb2.Study:
        """Accept a study of the id `study`; follow it with `watch`."""
        request = study_pb2.CreateStudyRequest(
            study_id=study,
            study=study_pb2.Study(spec=spec, labels=labels or {}),
            request_id=request_id or str(uuid.uuid4()),
        )
        return (await call(self._stub.CreateStudy, request)).study

    async def get(self, name: str) -> study_pb2.Study:
        """One study by its name `studies/{study}`."""
        return (await call(self._stub.GetStudy, study_pb2.GetStudyRequest(name=name))).study

    async def list(self, *, labels: dict[str, str] | None = None) -> list[study_pb2.Study]:
        """All studies that have these labels, newest first, without metrics and trials."""

        async def page(token: str) -> tuple[list[study_pb2.Study], str]:
            request = study_pb2.ListStudiesRequest(page_token=token, label_filter=labels or {})
            response = await call(self._stub.ListStudies, request)
            return [*response.studies], response.next_page_token

        return await pages(page)

    def watch(self, name: str) -> AsyncGenerator[study_pb2.Study, None]:
        """The study now and after every change, until it has ended."""
        request = study_pb2.WatchStudyRequest(name=name)
        return watch(self._stub.WatchStudy, request, lambda response: response.study)

    async def cancel(self, name: str) -> study_pb2.Study:
        """Ask the study and its trials to stop."""
        return (await call(self._stub.CancelStudy, study_pb2.CancelStudyRequest(name=name))).study

    async def delete(self, name: str) -> None:
        """Delete a study that has ended, and its trials with it."""
        await call(self._stub.DeleteStudy, study_pb2.DeleteStudyRequest(name=name))


def setting(value: struct_pb2.Value) -> object:
    """What a trial's parameter was set to, a whole number without a point."""
    return _whole(MessageToDict(value))


def _whole(value: object) -> object:
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
