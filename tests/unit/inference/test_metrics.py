"""Prometheus reads the figures of what is served."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.core import CollectorRegistry

from lepton_common.errors import TensorMismatch
from lepton_inference.batcher import BatchLimits
from lepton_inference.catalogue import Catalogue, Endpoint, Version
from lepton_inference.metrics import ServingMetrics
from lepton_inference.model import Model, load_model
from lepton_inference.repository import Repository
from lepton_inference.routing import Route
from lepton_inference.sessions import RuntimeOptions
from lepton_inference.signature import Signature, Tensor

VERSION = "models/scaler/versions/7"
LABELS = {"endpoint": "scaler", "version": "7"}


async def test_what_was_answered_and_what_failed_is_shown(write_scaler: Callable[[float], Path]) -> None:
    model = load_model(write_scaler(2.0), options=RuntimeOptions(threads=1), registered=Signature())

    async def load(version: Version, endpoint: Endpoint) -> Model:
        return model

    repository = Repository(load, limits=BatchLimits())
    endpoint = Endpoint("scaler", (Route(VERSION, 1),), 4)
    repository.apply(Catalogue((endpoint,), {VERSION: Version(VERSION, digest="d" * 64)}))
    await repository.ready.wait()
    registry = CollectorRegistry()
    registry.register(ServingMetrics(repository))

    def figure(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"lepton_inference_{name}", LABELS | labels)

    deployment = repository.endpoint("scaler").find()
    requests = [[Tensor("x", "FP32", np.ones((count, 2), np.float32))] for count in (1, 3, 3)]
    await asyncio.gather(*map(deployment.infer, requests))
    with pytest.raises(TensorMismatch):
        await deployment.infer([])
    gone = asyncio.create_task(deployment.infer(requests[0]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])

    assert figure("records_total") == 7
    assert figure("failed_requests_total", reason="CANCELLED") == 1
    assert figure("failed_requests_total", reason="OVERLOADED") is None
    assert figure("queue_requests") == 0
    for name in ("queue_seconds", "compute_seconds", "request_seconds"):
        buckets = [figure(f"{name}_bucket", le=le) for le in ("0.0001", "10.0", "+Inf")]
        assert buckets[1:] == [3, 3]
        assert figure(f"{name}_count") == 3
    assert 0 < (figure("compute_seconds_sum") or 0) <= (figure("request_seconds_sum") or 0)
    # Of one and three records, and of three more that did not fit into the first batch of four.
    assert [figure("batch_records_bucket", le=le) for le in ("1.0", "2.0", "4.0", "+Inf")] == [0, 0, 2, 2]
    assert figure("batch_records_sum") == 7
    await repository.drain()
