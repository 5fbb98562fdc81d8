"""Three times as many calls as the server can answer, each with a deadline of 50 ms."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median

from lepton_common.errors import Code

from .conversation import Outcome, call
from .load import Elsewhere, closed_load, open_load
from .records import Record, at_least, at_most, milliseconds
from .services import Services, cnn, image, serve

TIMES = 3.0
DEADLINE_MS = 50
CALM_SHARE = 0.2
"""What share of the capacity is asked for before and after."""
CALM_SECONDS = 2.0
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Model:
    """A convolutional network, and the records of a batch: two of them fit well into the deadline."""

    name: str
    channels: int
    max_batch_size: int


MODELS = (Model("small", 64, 64), Model("large", 160, 16))


def measure(
    services: Services, elsewhere: Elsewhere, *, bars: bool, rounds: int, seconds: float
) -> Iterator[Record]:
    """Measures; without bars, only tells."""
    for model in MODELS:
        serve(services, model.name, cnn(channels=model.channels), max_batch_size=model.max_batch_size)
        found = [measure_once(services, elsewhere, model, seconds) for _ in range(rounds)]
        figures = {name: median(round[name] for round in found) for name in found[0]}
        for record in tell(figures, bars=bars):
            yield replace(record, name=f"{model.name} model: {record.name}")


def tell(figures: Mapping[str, float], *, bars: bool) -> Iterator[Record]:
    """The records of one model."""
    yield Record("capacity", figures["capacity"], "1/s")
    yield Record("offered, of the capacity", figures["offered"], "times")
    yield at_least("goodput, of the capacity", figures["goodput"], "", 0.9 if bars else None)
    yield at_most("p99 of the accepted", figures["accepted"], "ms", DEADLINE_MS if bars else None)
    yield at_most("p99 of the refused", figures["refused"], "ms", 5.0 if bars else None)
    yield Record("p50 of the refused", figures["refused, p50"], "ms")
    yield Record("accepted and not answered in time, of all", figures["late"], "")
    yield Record("the client's own delay, p99", figures["lag"], "ms")
    yield Record("p99 before", figures["before"], "ms")
    yield Record("p99 a second after", figures["after"], "ms")
    yield at_most("p99 a second after, of before", figures["back"], "times", 2.0 if bars else None)


def measure_once(services: Services, elsewhere: Elsewhere, model: Model, seconds: float) -> dict[str, float]:
    """One round."""
    address = services.server.address
    message = image(model.name)
    patient, hasty = call(message), call(message, timeout_ms=DEADLINE_MS)

    # One batch runs while another waits.
    in_flight = 2 * model.max_batch_size

    def capacity() -> float:
        done = elsewhere(closed_load, address, patient, in_flight=in_flight, seconds=seconds / 2)
        return sum(outcome.status == Code.OK for outcome in done) / (seconds / 2)

    capacity()
    before = capacity()
    calm = CALM_SHARE * before
    quiet = elsewhere(open_load, address, patient, rate=calm, seconds=CALM_SECONDS)
    rate = TIMES * before
    storm = elsewhere(open_load, address, hasty, rate=rate, seconds=seconds)
    # The second after the storm is in this load, and not looked at.
    after = elsewhere(open_load, address, patient, rate=calm, seconds=PAUSE_SECONDS + CALM_SECONDS)
    begun = min(outcome.due for outcome in after)
    later = [outcome for outcome in after if outcome.due >= begun + PAUSE_SECONDS]
    # What the machine gave meanwhile may have changed.
    able = (before + capacity()) / 2
    answered = [outcome for outcome in storm if outcome.status == Code.OK]
    refused = [outcome for outcome in storm if outcome.status == Code.RESOURCE_EXHAUSTED]
    lags = [Outcome(outcome.due, 0.0, outcome.lag, outcome.status) for outcome in storm]
    calm_ms, later_ms = milliseconds(quiet, 99), milliseconds(later, 99)
    return {
        "capacity": able,
        "offered": len(storm) / seconds / able,
        "goodput": sum(outcome.seconds * 1e3 <= DEADLINE_MS for outcome in answered) / seconds / able,
        "accepted": milliseconds(answered, 99),
        "refused": milliseconds(refused, 99),
        "refused, p50": milliseconds(refused, 50),
        "late": 1 - (len(answered) + len(refused)) / len(storm),
        "lag": milliseconds(lags, 99),
        "before": calm_ms,
        "after": later_ms,
        "back": later_ms / calm_ms,
    }
