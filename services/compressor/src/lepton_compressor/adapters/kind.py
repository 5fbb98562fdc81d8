"""Compression as a kind of job: what its worker is told, and what becomes of what it made."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from lepton.compression.v1.compression_pb2 import Candidate, CompressionJob
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.kind import Work
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_common.registration import register
from lepton_compressor.adapters.sources import Sources

WORKER = "lepton_compressor.worker"
"""The module that compresses."""


class CompressionKind:
    """The compressor's `JobKind`."""

    def __init__(
        self,
        collection: Collection[CompressionJob],
        objects: ObjectStore,
        *,
        sources: Sources,
        models: model_pb2_grpc.ModelServiceAsyncStub,
        worker: str = WORKER,
    ) -> None:
        """Keep jobs in `collection` and their specs in `objects`; `worker` is the module that compresses."""
        self.collection = collection
        self._objects = objects
        self._sources = sources
        self._models = models
        self._worker = worker

    async def launch(self, job: CompressionJob) -> Work:
        """Tell the worker what to compress, and on which records to measure it.

        The lineage is written down with it: when the work is done the source may be gone.
        """
        source = await self._sources.get(job.spec.model_version)
        manifest = await self._sources.manifest(source.dataset_version)
        made_by = {"name": job.name, "kind": "LINEAGE_KIND_COMPRESSION_JOB", "parents": [source.name]}
        spec = {
            "spec": MessageToDict(job.spec, preserving_proto_field_name=True),
            "source": {"files": source.files},
            "manifest": {"key": manifest.key, "sha256": manifest.sha256},
            "private": any("privacy" in node for node in source.lineage),
            "lineage": [made_by, *source.lineage],
        }
        return Work(module=self._worker, spec=spec)

    async def complete(
        self, job: CompressionJob, outcome: Mapping[str, Any]
    ) -> Callable[[CompressionJob], None]:
        """Register the chosen candidate; the same job always gives the same version."""
        spec = await asyncio.to_thread(files.read_spec, self._objects, life.key(job))
        version = await register(
            self._models,
            outcome,
            model=job.spec.model,
            model_format=model_pb2.MODEL_FORMAT_ONNX,
            lineage=[ParseDict(node, model_pb2.LineageNode()) for node in spec["lineage"]],
            request_id=job.uid,
        )
        candidates = [ParseDict(dict(each), Candidate()) for each in outcome["candidates"]]

        def write_down(stored: CompressionJob) -> None:
            stored.model_version = version
            del stored.candidates[:]
            stored.candidates.extend(candidates)

        return write_down
