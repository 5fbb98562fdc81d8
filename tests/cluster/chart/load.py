"""A load on an installation. Runs in a pod until its input ends, and prints what became of it as JSON.

python load.py ENDPOINT CALLERS PAUSE_SECONDS
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from lepton_common.errors import LeptonError
from lepton_sdk.addresses import Addresses
from lepton_sdk.client import Client

IMAGES = np.random.default_rng(7).integers(0, 16, (32, 1, 8, 8, 1), dtype=np.uint8)


@dataclass
class Outcome:
    """What callers have seen."""

    calls: int = 0
    wrong: int = 0
    """Answers unlike the first to the same question."""
    longest_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    failed_seconds: float = 0.0
    """From the first failure to the last."""


class Load:
    """Callers of an endpoint, and one of the other services."""

    def __init__(self, client: Client, endpoint: str, pause: float) -> None:
        self._client = client
        self._endpoint = endpoint
        self._pause = pause
        self.stop = asyncio.Event()
        self.predictions = Outcome()
        self.others = Outcome()
        self._failed: dict[int, float] = {}

    async def predict(self, caller: int, expected: list[np.ndarray]) -> None:
        """Ask for one image after the other."""
        place = caller
        while not self.stop.is_set():
            place = (place + 1) % len(IMAGES)

            async def ask(place: int = place) -> None:
                answer = await self._client.inference.predict(
                    self._endpoint, {"image": IMAGES[place]}, seconds=20
                )
                if not np.allclose(answer.outputs["probabilities"], expected[place], atol=1e-3):
                    self.predictions.wrong += 1

            await self._count(self.predictions, ask)
            await asyncio.sleep(self._pause)

    async def look(self) -> None:
        """Ask every other service for what it has."""
        client = self._client
        asks: list[Callable[[], Awaitable[object]]] = [
            client.models.list,
            client.datasets.list,
            client.training.list,
            client.compression.list,
            client.agents.list,
        ]
        while not self.stop.is_set():
            for ask in asks:
                await self._count(self.others, ask)
            await asyncio.sleep(self._pause)

    async def expected(self) -> list[np.ndarray]:
        """What the endpoint answers to every image."""
        return [
            (await self._client.inference.predict(self._endpoint, {"image": image})).outputs["probabilities"]
            for image in IMAGES
        ]

    async def _count(self, outcome: Outcome, ask: Callable[[], Awaitable[object]]) -> None:
        asked = time.monotonic()
        try:
            await ask()
        except LeptonError as error:
            first = self._failed.setdefault(id(outcome), asked)
            outcome.failed_seconds = time.monotonic() - first
            outcome.failures.append(f"{type(error).__name__}: {error}")
        outcome.calls += 1
        outcome.longest_seconds = max(outcome.longest_seconds, time.monotonic() - asked)


async def main(endpoint: str, callers: int, pause: float) -> None:
    """Load until the input ends."""
    async with Client(Addresses.read()) as client:
        load = Load(client, endpoint, pause)
        expected = await load.expected()
        _tell("loading")
        work = asyncio.gather(load.look(), *(load.predict(caller, expected) for caller in range(callers)))
        await asyncio.to_thread(sys.stdin.read)
        load.stop.set()
        await work
    _tell(json.dumps({"predictions": asdict(load.predictions), "others": asdict(load.others)}))


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
