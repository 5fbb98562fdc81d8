"""Models and their versions in the resource store."""

from collections.abc import Mapping

from lepton.model.v1.model_pb2 import ArtifactFile, Model, ModelVersion
from lepton_common.errors import NotFound
from lepton_common.records import Page, Transaction
from lepton_registry.adapters.collections import Collections, check_unserved, find_version
from lepton_registry.adapters.following import keep_up
from lepton_registry.model import check_model_name, model_of


class Models:
    """Models and their versions.

    A version is there as long as an endpoint names it; an endpoint that follows its model lets go of it.
    """

    def __init__(self, collections: Collections) -> None:
        """Keep them in `collections`."""
        self._all = collections

    async def create(self, model: Model, *, request_id: str) -> Model:
        """Add a model.

        Raises:
            AlreadyExists: There is one of this name, made by another request.
        """
        return await self._all.models.create(model, request_id=request_id)

    async def get(self, name: str) -> Model:
        """Return a model, or raise NotFound."""
        return await self._all.models.get(name)

    async def list(self, *, page_size: int, page_token: str, labels: Mapping[str, str]) -> Page[Model]:
        """Return a page of models, by name."""
        return await self._all.models.list(page_size=page_size, page_token=page_token, labels=labels)

    async def delete(self, name: str, *, etag: str) -> None:
        """Remove a model and its versions.

        Raises:
            NotFound: There is none of this name.
            EtagMismatch: `etag` is given, and it has another.
            InUse: An endpoint serves one of its versions.
        """

        def body(transaction: Transaction) -> None:
            versions = transaction.rows(self._all.versions)
            transaction.rows(self._all.models).delete(name, etag=etag)
            served = transaction.rows(self._all.endpoints).each()
            check_unserved(served, {each.name for each in versions.each(parent=name)})
            versions.delete_children(name)

        await self._all.records.transaction(body, self._all.models, self._all.versions, self._all.endpoints)

    async def create_version(self, parent: str, version: ModelVersion, *, request_id: str) -> ModelVersion:
        """Add the next version of a model; the model too when it is missing. Endpoints follow.

        Raises:
            InvalidField: No model can have this name.
        """

        def body(transaction: Transaction) -> ModelVersion:
            models = transaction.rows(self._all.models)
            if models.find(parent) is None:
                models.create(Model(name=check_model_name(parent)))
            versions = transaction.rows(self._all.versions)
            made = versions.create_numbered(parent, "versions", version, request_id=request_id)
            keep_up(transaction, self._all, parent)
            return made

        return await self._all.records.transaction(
            body, self._all.models, self._all.versions, self._all.endpoints
        )

    async def get_version(self, name: str) -> ModelVersion:
        """Return a version, whose name may end in `latest`, or raise NotFound."""
        return await self._all.records.snapshot(
            lambda transaction: find_version(transaction.rows(self._all.versions), name)
        )

    async def find_file(self, name: str, path: str) -> ArtifactFile:
        """Return a file of a version, whose name may end in `latest`.

        Raises:
            NotFound: There is no such version, or it has no such file.
        """
        version = await self.get_version(name)
        for file in version.files:
            if file.path == path:
                return file
        raise NotFound(f"{version.name} has no file {path!r}", metadata={"name": version.name, "path": path})

    async def list_versions(
        self, model: str, *, page_size: int, page_token: str, labels: Mapping[str, str]
    ) -> Page[ModelVersion]:
        """Return a page of versions, newest first.

        Raises:
            NotFound: There is no such model.
        """
        await self._all.models.get(model)
        return await self._all.versions.list(
            parent=model, page_size=page_size, page_token=page_token, labels=labels, newest_first=True
        )

    async def delete_version(self, name: str, *, etag: str) -> None:
        """Remove a version, whose name may end in `latest`. Endpoints that follow its model let go of it.

        Raises:
            NotFound: There is none of this name.
            EtagMismatch: `etag` is given, and it has another.
            InUse: An endpoint names it, or has no other version to follow.
        """

        def body(transaction: Transaction) -> None:
            versions = transaction.rows(self._all.versions)
            version = find_version(versions, name)
            endpoints = transaction.rows(self._all.endpoints).each()
            check_unserved((each for each in endpoints if not each.HasField("follow")), {version.name})
            versions.delete(version.name, etag=etag)
            keep_up(transaction, self._all, model_of(version.name))

        await self._all.records.transaction(body, self._all.versions, self._all.endpoints)
