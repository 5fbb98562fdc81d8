"""Endpoints that follow a model: their targets are its versions, as those come and go."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

from lepton.endpoint.v1.endpoint_pb2 import Endpoint, Follow, TrafficTarget
from lepton.model.v1.model_pb2 import MODEL_FORMAT_ONNX, ModelVersion
from lepton_common.errors import InUse, NotFound
from lepton_common.records import Rows, Transaction
from lepton_registry.adapters.collections import Collections
from lepton_registry.endpoint import MOST_TARGETS


def follow(endpoint: Endpoint, versions: Rows[ModelVersion]) -> None:
    """Give an endpoint the targets that follow from what it follows: the newest first, with all the traffic.

    Raises:
        NotFound: The model has no version that can be served.
    """
    targets = _targets(versions, endpoint.follow)
    if not targets:
        raise NotFound(
            f"{endpoint.follow.model!r} has no version of format ONNX that could be served",
            metadata={"name": endpoint.follow.model},
        )
    _aim(targets, endpoint)


def keep_up(transaction: Transaction, collections: Collections, model: str) -> None:
    """Give the endpoints that follow a model the targets that follow from its versions now.

    Raises:
        InUse: None of the versions that are left can be served.
    """
    endpoints = transaction.rows(collections.endpoints)
    for endpoint in [*endpoints.each(index=model)]:
        targets = _targets(transaction.rows(collections.versions), endpoint.follow)
        if not targets:
            raise InUse(
                f"{endpoint.name!r} follows {model!r}: the last version that it can serve must stay",
                metadata={"name": model, "endpoint": endpoint.name},
            )
        endpoints.update(endpoint.name, partial(_aim, targets))


def _targets(versions: Rows[ModelVersion], wanted: Follow) -> list[TrafficTarget]:
    count = MOST_TARGETS if wanted.HasField("all") else wanted.latest.count or 1
    newest = islice(_servable(versions, wanted.model, page_size=count), count)
    return [
        TrafficTarget(model_version=version.name, weight=0 if place else 1)
        for place, version in enumerate(newest)
    ]


def _servable(versions: Rows[ModelVersion], model: str, *, page_size: int) -> Iterator[ModelVersion]:
    """Yield the versions of format ONNX, newest first.

    A version can be megabytes: the first page has no more of them than are needed where all can be served.
    """
    token = ""
    while True:
        page = versions.list(parent=model, page_size=page_size, page_token=token, newest_first=True)
        yield from (version for version in page.items if version.format == MODEL_FORMAT_ONNX)
        token = page.next_page_token
        if not token:
            return
        page_size = min(2 * page_size, MOST_TARGETS)


def _aim(targets: list[TrafficTarget], endpoint: Endpoint) -> None:
    del endpoint.targets[:]
    endpoint.targets.extend(targets)
