"""Versions that change places while they are called: every call is answered, by one version or the other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from lepton_common.errors import Code

from ...storms.conversation import call
from ...storms.load import open_load
from ...storms.services import cnn, image
from ...storms.swaps import check_answers

if TYPE_CHECKING:
    from .conftest import InferenceServer, Registry

SWAPS = 5


async def test_swaps_back_and_forth_fail_nothing(
    server: InferenceServer, registry: Registry, tmp_path: Path
) -> None:
    models = {registry.publish("cnn", content): content for content in (cnn(0.0), cnn(1.0))}
    first, second = models
    registry.serve_and_wait("swapped", {first: 1})
    end = tmp_path / "end"
    asked = call(image("swapped"))
    loading = asyncio.create_task(
        asyncio.to_thread(open_load, server.address, asked, rate=200, seconds=60, end=end)
    )
    try:
        for number in range(SWAPS):
            version = (second, first)[number % 2]
            await asyncio.to_thread(registry.serve_and_wait, "swapped", {version: 1})
            await asyncio.sleep(0.1)
    finally:
        end.touch()
        outcomes = await loading
    assert {outcome.status for outcome in outcomes} == {Code.OK}
    answers = check_answers(outcomes, models)
    assert answers.pop("") == 0
    assert all(answers.values()), answers
