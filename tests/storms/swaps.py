"""An endpoint goes back and forth between two versions while it is called all the time."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from inference import grpc_service_pb2 as pb
from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.errors import Code

from .conversation import Outcome, call
from .load import Elsewhere, closed_load, open_load
from .records import Record, at_most, milliseconds
from .services import Services, cnn, image, serve

SWAPS = 10
SHARE = 0.3
"""What share of the capacity is asked for."""
CALM_SECONDS = 1.5
"""How long nothing happens before each swap."""
MOST_SECONDS = 300.0
TAIL_SECONDS = 0.5
"""What is still counted as the swap when the new version has been reported."""
_PREFIX_BYTES = 5


def measure(services: Services, elsewhere: Elsewhere, *, bars: bool, folder: Path) -> Iterator[Record]:
    """Measures; without bars, only tells."""
    models = {}
    for shift in (0.0, 1.0):
        models[serve(services, "swapped", cnn(shift), max_batch_size=64)] = cnn(shift)
    address, asked = services.server.address, call(image("swapped"))
    capacity = len(elsewhere(closed_load, address, asked, in_flight=64, seconds=2.0)) / 2.0
    end = folder / "swapped"
    loading = elsewhere.start(open_load, address, asked, rate=SHARE * capacity, seconds=MOST_SECONDS, end=end)
    calm: list[tuple[float, float]] = []
    swaps: list[tuple[float, float]] = []
    old, new = models
    for _ in range(SWAPS):
        began = time.perf_counter()
        time.sleep(CALM_SECONDS)
        swap_began = time.perf_counter()
        calm.append((began, swap_began))
        services.registry.serve("swapped", {old: 1}, max_batch_size=64)
        services.registry.wait_for("swapped", old, endpoint_pb2.SERVING_STATE_READY)
        time.sleep(TAIL_SECONDS)
        swaps.append((swap_began, time.perf_counter()))
        old, new = new, old
    end.touch()
    outcomes = loading.result()
    before, during = within(outcomes, calm), within(outcomes, swaps)
    quiet_ms, swap_ms = milliseconds(before, 99), milliseconds(during, 99)
    answers = check_answers(outcomes, models)
    yield Record("calls during swaps", len(during), "")
    yield at_most("failed", sum(outcome.status != Code.OK for outcome in outcomes), "", 0.0 if bars else None)
    yield at_most("answers of neither version", answers[""], "", 0.0)
    yield Record("answers of the first version", answers[min(models)], "")
    yield Record("answers of the second version", answers[max(models)], "")
    yield Record("p99 before a swap", quiet_ms, "ms")
    yield Record("p99 during a swap", swap_ms, "ms")
    yield at_most("p99 during a swap, of before", swap_ms / quiet_ms, "times", 2.0 if bars else None)


def within(outcomes: list[Outcome], windows: list[tuple[float, float]]) -> list[Outcome]:
    """The calls that were due in one of the windows."""
    return [outcome for outcome in outcomes if any(start <= outcome.due < stop for start, stop in windows)]


def check_answers(outcomes: list[Outcome], models: Mapping[str, bytes]) -> dict[str, int]:
    """Counts the answers by the version that gave them, "" for those that are of none.

    An answer is a version's if it names it and has its values: batches of other sizes change the last bits.
    """
    image_array = np.frombuffer(
        pb.ModelInferRequest.FromString(image("")).raw_input_contents[0], np.float32
    ).reshape(1, 1, 28, 28)
    expected = {}
    for version, content in models.items():
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
        expected[version.rpartition("/")[2]] = version, session.run(None, {"x": image_array})[0]
    counts = dict.fromkeys([*models, ""], 0)
    for outcome in outcomes:
        if outcome.status == Code.OK:
            response = pb.ModelInferResponse.FromString(outcome.body[_PREFIX_BYTES:])
            version, values = expected[response.model_version]
            given = np.frombuffer(response.raw_output_contents[0], np.float32)
            counts[version if np.allclose(given, values[0], atol=1e-3) else ""] += 1
    return counts
