"""Learned policies, as the registry and the object store keep them."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

import asyncio

from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.calls import CALL_SECONDS, answered_by
from lepton_common.errors import FieldViolation, InvalidField, NotFound, WrongState
from lepton_common.manifests import Blob, get_blob
from lepton_common.objects import ObjectStore
from lepton_rl_agent.acting import Policy
from lepton_rl_agent.spaces import Spaces

_MODEL_FILE = "model.onnx"


class Policies:
    """Reads policies."""

    def __init__(self, models: model_pb2_grpc.ModelServiceAsyncStub, objects: ObjectStore) -> None:
        """Ask `models` where a policy is, and read it from `objects`."""
        self._models = models
        self._objects = objects

    async def load(self, version: str, spaces: Spaces) -> Policy:
        """Load a policy, its digest checked, for an agent with these spaces.

        Raises:
            WrongState: there is no such version any more.
            InvalidModel: it is no policy for such an agent.
            DependencyUnavailable: the registry or the object store does not answer.
        """
        try:
            found = await self._find(version)
        except NotFound as exc:
            raise WrongState(f"the policy {version!r} is gone: choose another, or learn a new one") from exc
        return await self._load(found, spaces)

    async def check(self, version: str, spaces: Spaces, *, agent: str) -> None:
        """Check that an agent may act by a version: that one of its runs made it, and that it fits.

        Args:
            version: `models/{model}/versions/{version}`.
            spaces: what the agent sees and does.
            agent: `agents/{agent}`.

        Raises:
            InvalidField: no run of this agent made it, or there is none.
            InvalidModel: it is no policy for such an agent.
        """
        try:
            found = await self._find(version)
        except NotFound as exc:
            raise _unfit("must be a version that exists") from exc
        if not any(
            node.kind == model_pb2.LINEAGE_KIND_LEARNING_RUN
            and node.name.startswith(f"{agent}/learningRuns/")
            for node in found.lineage
        ):
            raise _unfit("must be a version that a learning run of this agent has made")
        await self._load(found, spaces)

    async def _find(self, version: str) -> model_pb2.ModelVersion:
        request = model_pb2.GetModelVersionRequest(name=version)
        async with answered_by("registry"):
            response = await self._models.GetModelVersion(request, timeout=CALL_SECONDS)
        return response.model_version

    async def _load(self, version: model_pb2.ModelVersion, spaces: Spaces) -> Policy:
        blobs = [
            Blob(file.key, file.sha256, file.size_bytes) for file in version.files if file.path == _MODEL_FILE
        ]
        if not blobs:
            raise _unfit(f"must be a version with a file {_MODEL_FILE!r}")
        return await asyncio.to_thread(_open, self._objects, blobs[0], spaces)


def _open(objects: ObjectStore, blob: Blob, spaces: Spaces) -> Policy:
    # Imported here: the runtime is 30 MB, and a service whose agents have learned nothing needs none.
    from lepton_rl_agent.policy import OnnxPolicy

    return OnnxPolicy(get_blob(objects, blob), spaces)


def _unfit(rule: str) -> InvalidField:
    return InvalidField("no policy for this agent", violations=[FieldViolation("agent.policy", rule)])
