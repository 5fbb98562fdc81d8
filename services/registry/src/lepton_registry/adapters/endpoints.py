"""Endpoints, and what inference servers report of them, in the resource store."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from lepton.endpoint.v1.endpoint_pb2 import (
    Endpoint,
    EndpointServing,
    Replica,
    ServingStatus,
    TrafficTarget,
)
from lepton.model.v1.model_pb2 import MODEL_FORMAT_ONNX, ModelVersion
from lepton_common.errors import FieldViolation, InvalidField
from lepton_common.records import Page, Rows, Transaction, check_etag
from lepton_registry.adapters.collections import Collections, find_version
from lepton_registry.adapters.following import follow
from lepton_registry.endpoint import Target, check_preferred_sizes, check_targets
from lepton_registry.model import Format
from lepton_registry.pool import DEFAULT
from lepton_registry.reports import counts, parent_of, report_name


@dataclass(frozen=True)
class Snapshot:
    """All that is served at one moment.

    Attributes:
        endpoints: All endpoints, by name, without what servers report.
        versions: Every version that they name.
    """

    endpoints: tuple[Endpoint, ...]
    versions: tuple[ModelVersion, ...]


class Endpoints:
    """Endpoints, whose targets are ONNX versions of one model that exist."""

    def __init__(self, collections: Collections) -> None:
        """Keep them in `collections`."""
        self._all = collections

    async def create(self, endpoint: Endpoint, *, request_id: str) -> Endpoint:
        """Add an endpoint; a target `latest` becomes the version that is the latest now.

        Raises:
            AlreadyExists: There is one of this name, made by another request.
            NotFound: A target does not exist, or the model to follow has no version that can be served.
            InvalidField: The targets cannot be served together or stand beside a model to follow, or
                batches cannot be of the preferred sizes.
        """

        def body(transaction: Transaction) -> Endpoint:
            self._settle(transaction, endpoint, read=())
            return transaction.rows(self._all.endpoints).create(endpoint, request_id=request_id)

        return await self._write(body)

    async def get(self, name: str) -> Endpoint:
        """Return an endpoint with what servers report of it, or raise NotFound."""

        def body(transaction: Transaction) -> Endpoint:
            endpoint = transaction.rows(self._all.endpoints).get(name)
            self._add_serving(transaction, endpoint)
            return endpoint

        return await self._all.records.snapshot(body)

    async def list(self, *, page_size: int, page_token: str, labels: Mapping[str, str]) -> Page[Endpoint]:
        """Return a page of endpoints by name, with what servers report of them."""

        def body(transaction: Transaction) -> Page[Endpoint]:
            page = transaction.rows(self._all.endpoints).list(
                page_size=page_size, page_token=page_token, labels=labels
            )
            for endpoint in page.items:
                self._add_serving(transaction, endpoint)
            return page

        return await self._all.records.snapshot(body)

    async def update(self, endpoint: Endpoint) -> Endpoint:
        """Replace all that the caller may set of the endpoint of this name.

        Targets that are there because it follows a model may be written back as they were read.

        Raises:
            NotFound: There is none of this name; else as `create`.
            EtagMismatch: It carries an etag, and the stored one has another.
            InvalidField: As `create`.
        """

        def body(transaction: Transaction) -> Endpoint:
            endpoints = transaction.rows(self._all.endpoints)
            stored = endpoints.get(endpoint.name)
            check_etag(stored, endpoint.etag)
            self._settle(transaction, endpoint, read=stored.targets if stored.HasField("follow") else ())
            return endpoints.update(endpoint.name, lambda stored: stored.CopyFrom(endpoint))

        return await self._write(body)

    async def delete(self, name: str, *, etag: str) -> None:
        """Remove an endpoint, and what servers reported of it.

        Raises:
            NotFound: There is none of this name.
            EtagMismatch: `etag` is given, and it has another.
        """

        def body(transaction: Transaction) -> None:
            transaction.rows(self._all.endpoints).delete(name, etag=etag)
            transaction.rows(self._all.reports).delete_children(name)

        await self._all.records.transaction(body, self._all.endpoints, self._all.reports)

    async def watch(self, pool: str = "") -> AsyncIterator[Snapshot]:
        """Yield what is served now, and again after it changed, through whichever replica; never ends.

        Args:
            pool: Whose endpoints; empty: those of all pools.
        """

        def body(transaction: Transaction) -> Snapshot:
            endpoints = tuple(
                endpoint
                for endpoint in transaction.rows(self._all.endpoints).each()
                if not pool or pool == (endpoint.pool or DEFAULT)
            )
            names = {target.model_version for endpoint in endpoints for target in endpoint.targets}
            versions = transaction.rows(self._all.versions)
            return Snapshot(endpoints, tuple(versions.get(name) for name in sorted(names)))

        async for _ in self._all.endpoints.changes():
            yield await self._all.records.snapshot(body)

    async def report(self, server: Replica, pool: str, endpoints: Iterable[EndpointServing]) -> None:
        """Note all that an inference server says of itself and of endpoints, in place of what it said before.

        What it says of an endpoint that does not exist is passed over: it may not have heard yet.
        """

        replica = server.replica
        server.name = report_name(f"pools/{pool or DEFAULT}", replica)

        def body(transaction: Transaction) -> None:
            known = transaction.rows(self._all.endpoints)
            reports = transaction.rows(self._all.reports)
            replicas = transaction.rows(self._all.replicas)
            said = {
                report_name(endpoint.endpoint, replica): endpoint
                for endpoint in endpoints
                if known.find(endpoint.endpoint) is not None
            }
            for name, endpoint in said.items():
                reports.put(Endpoint(name=name, serving=_signed(endpoint.versions, replica)))
            replicas.put(server)
            _forget(reports, replica, but=said.keys())
            _forget(replicas, replica, but={server.name})

        await self._all.records.transaction(body, self._all.reports, self._all.replicas)

    def _settle(self, transaction: Transaction, endpoint: Endpoint, *, read: Iterable[TrafficTarget]) -> None:
        """Put what is served for what is followed, and a name for the pool, and check all of it.

        Args:
            transaction: Where the versions are.
            endpoint: What a caller wants.
            read: Targets that the caller may have read, and not have set.
        """
        endpoint.pool = endpoint.pool or DEFAULT
        check_preferred_sizes(endpoint.batching.preferred_batch_sizes, endpoint.batching.max_batch_size)
        versions = transaction.rows(self._all.versions)
        if endpoint.HasField("follow"):
            if endpoint.targets and [*endpoint.targets] != [*read]:
                rule = "must be left out, or be as they were read, beside `follow`"
                raise InvalidField(
                    f"an endpoint that follows a model has no targets of its own: they {rule}",
                    violations=[FieldViolation("endpoint.targets", rule)],
                )
            follow(endpoint, versions)
        else:
            self._settle_targets(versions, endpoint)

    def _settle_targets(self, versions: Rows[ModelVersion], endpoint: Endpoint) -> None:
        """Put a number for each `latest`, and check the targets."""
        targets = []
        for target in endpoint.targets:
            version = find_version(versions, target.model_version)
            target.model_version = version.name
            stored_as = Format.ONNX if version.format == MODEL_FORMAT_ONNX else Format.KERAS
            targets.append(Target(version.name, target.weight, stored_as))
        check_targets(targets)

    def _add_serving(self, transaction: Transaction, endpoint: Endpoint) -> None:
        reports = transaction.rows(self._all.reports).each(parent=endpoint.name)
        statuses = [status for report in reports if _counts(report) for status in report.serving]
        statuses.sort(key=lambda status: (status.model_version, status.replica))
        endpoint.serving.extend(statuses)

    async def _write(self, body: Callable[[Transaction], Endpoint]) -> Endpoint:
        return await self._all.records.transaction(body, self._all.endpoints, self._all.versions)


_Report = TypeVar("_Report", Endpoint, Replica)


def _forget(reports: Rows[_Report], replica: str, *, but: Collection[str]) -> None:
    """Remove what a server said before and does not say any more, and what no server says any more."""
    for old in list(reports.each()):
        mine = old.name == report_name(parent_of(old.name), replica)
        if old.name not in but and (mine or not _counts(old)):
            reports.delete(old.name)


def _counts(report: Endpoint | Replica) -> bool:
    return counts(report.update_time.ToDatetime(UTC), datetime.now(UTC))


def _signed(statuses: Iterable[ServingStatus], replica: str) -> Iterator[ServingStatus]:
    for status in statuses:
        signed = ServingStatus()
        signed.CopyFrom(status)
        signed.replica = replica
        yield signed
