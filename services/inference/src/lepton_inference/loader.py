"""From a model version to a model that runs: fetched, checked, loaded, warmed up."""

import asyncio
import weakref

from lepton_common.errors import InvalidModel, NotFound
from lepton_inference.artifacts import Artifacts
from lepton_inference.catalogue import MODEL_FILE, Catalogue, Endpoint, Version
from lepton_inference.model import Model, RuntimeOptions, load_model
from lepton_inference.signature import Signature


class Loader:
    """Loads one version at a time, and a version that several endpoints serve only once."""

    def __init__(self, artifacts: Artifacts, options: RuntimeOptions) -> None:
        self._artifacts = artifacts
        self._options = options
        self._models: weakref.WeakValueDictionary[tuple[str, Signature], Model] = (
            weakref.WeakValueDictionary()
        )
        self._one_at_a_time = asyncio.Lock()

    async def load(self, version: Version, endpoint: Endpoint) -> Model:
        """The version's model, warmed up for the batches of an endpoint.

        Raises:
            NotFound: the registry does not know the version.
            InvalidModel: it is not stored as ONNX.
            LeptonError: what `Artifacts.fetch` and `load_model` raise.
        """
        if not version.digest:
            raise NotFound(f"{version.name} is not in the registry")
        if not version.is_onnx or MODEL_FILE not in version.files:
            raise InvalidModel(f"{version.name} is not stored as ONNX; only that can be served")
        # The digest is that of the files alone: other versions of the same may be registered differently.
        identity = (version.digest, version.signature)
        async with self._one_at_a_time:
            model = self._models.get(identity)
            if model is None:
                model = await asyncio.to_thread(self._fetch_and_load, version)
                self._models[identity] = model
            await asyncio.to_thread(model.warm_up, endpoint.max_batch_size)
        return model

    async def prune(self, catalogue: Catalogue) -> None:
        """Deletes the files of versions that no endpoint names any more."""
        async with self._one_at_a_time:
            digests = [version.digest for version in catalogue.versions.values()]
            await asyncio.to_thread(self._artifacts.prune, digests)

    def _fetch_and_load(self, version: Version) -> Model:
        folder = self._artifacts.fetch(version)
        return load_model(folder / MODEL_FILE, options=self._options, registered=version.signature)
