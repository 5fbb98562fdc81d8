"""More calls than the server can answer: it refuses at once what would be late, and answers the rest."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from google.rpc.status_pb2 import Status

from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.errors import Code, Overloaded
from lepton_common.status import from_status

from ...storms.conversation import LOST, call
from ...storms.hostile import calls_in_flight
from ...storms.load import closed_load, open_load
from ...storms.services import cnn, image
from .conftest import until

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

RECORDS = 16
"""In each request: they keep the server busier than those who ask."""


async def test_what_cannot_be_answered_in_time_is_refused_and_the_rest_is_answered(
    new_server: Callable[..., InferenceServer], registry: Registry, transport: str, tmp_path: Path
) -> None:
    version = registry.publish("cnn", cnn())
    registry.serve("overload", {version: 1}, max_batch_size=64)
    server = new_server(tmp_path, METRICS_LISTEN="127.0.0.1:0")
    server.start()
    registry.wait_for("overload", version, endpoint_pb2.SERVING_STATE_READY, replica="second")
    address, message = server.address, image("overload", records=RECORDS)

    patient = call(message)
    calm = await asyncio.to_thread(closed_load, address, patient, in_flight=16, seconds=1.0)
    assert {outcome.status for outcome in calm} == {Code.OK}
    hasty = call(message, timeout_ms=50)
    storm = await asyncio.to_thread(open_load, address, hasty, rate=3 * len(calm), seconds=1.5)

    statuses = Counter(outcome.status for outcome in storm)
    known: set[int] = {Code.OK, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED}
    if transport == "grpc":
        # What has expired there is reset, and told nothing.
        known.add(LOST)
    assert statuses.keys() <= known, statuses
    assert statuses[Code.OK], statuses
    refused = [outcome for outcome in storm if outcome.status == Code.RESOURCE_EXHAUSTED]
    assert refused, statuses
    for outcome in refused[:: len(refused) // 10 + 1]:
        told = outcome.trailers
        error = from_status(Status.FromString(b64decode(told[b"grpc-status-details-bin"] + b"==")))
        assert isinstance(error, Overloaded)
        assert error.message == outcome.message
        assert (error.retry_after_seconds or 0) > 0
        assert told[b"grpc-retry-pushback-ms"] == b"-1"
        assert len(told[b"x-request-id"]) == 32
    # A line for each would be more work than all the rest.
    assert "RESOURCE_EXHAUSTED" not in server.log.read_text()
    # Nothing is left of it.
    until(lambda: not calls_in_flight(server))
    after = await asyncio.to_thread(open_load, address, patient, rate=20, seconds=0.5)
    assert {outcome.status for outcome in after} == {Code.OK}
    assert server.stop() == 0
