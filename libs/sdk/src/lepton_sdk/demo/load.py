"""How many requests a second an endpoint answers, and how right it is, asked by a real gRPC client."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_sdk.client import Client

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What a load has shown."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    requests: int


async def classify(client: Client, endpoint: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Class probabilities [n, classes] of all images, as the endpoint answers them."""
    answers: list[NDArray[Any]] = []
    for start in range(0, len(images), BATCH):
        prediction = await client.inference.predict(endpoint, {"image": images[start : start + BATCH]})
        answers.append(prediction.outputs["probabilities"])
    return np.concatenate(answers)


async def measure(
    client: Client,
    endpoint: str,
    images: NDArray[np.uint8],
    *,
    seconds: float = 5.0,
    in_flight: int = 16,
) -> Rate:
    """Ask for one image at a time from `in_flight` callers at once, for some seconds."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def caller(place: int) -> None:
        while time.perf_counter() - began < seconds:
            image = images[place % len(images)][np.newaxis]
            asked = time.perf_counter()
            await client.inference.predict(endpoint, {"image": image})
            latencies.append(time.perf_counter() - asked)
            place += in_flight

    await asyncio.gather(*map(caller, range(in_flight)))
    took = time.perf_counter() - began
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return Rate(
        requests_per_second=len(latencies) / took,
        p50_ms=float(p50),
        p99_ms=float(p99),
        requests=len(latencies),
    )
