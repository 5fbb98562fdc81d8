"""What was measured, as records and as tables."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from serving.models import MODELS

ALONE = "ONNX Runtime"
"""The column of ONNX Runtime alone."""
OURS = "lepton"
"""The column of the inference service on its own transport."""
LATENCIES = ("p50_ms", "p99_ms")


@dataclass(frozen=True)
class Load:
    """Requests of one kind, and what is asked of the inference service under it."""

    model: str
    client: str
    in_flight: int
    cost_bar: float | None = None
    """The most CPU microseconds that a request may cost."""
    share_bar: float | None = None
    """What share of the rate of ONNX Runtime alone it must reach."""
    gigabytes_bar: float | None = None
    """How many gigabytes of tensors a second it must take."""
    peer_bars: tuple[tuple[str, float], ...] = ()
    """How many times the requests of a peer it must answer with the same CPU time."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.model}, {self.client}, {self.in_flight} in flight"


@dataclass(frozen=True)
class Run:
    """What a load came to once."""

    cpu_us: float
    """CPU time for a request, microseconds."""
    rate: float
    """Requests a second."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    """Milliseconds that half of them took at most, and all but one in a hundred; of a server alone."""


Runs: TypeAlias = Mapping[str, Sequence[Run]]
"""The runs of one load by server, one for each round."""


def tell(load: Load, runs: Runs) -> Iterator[dict[str, Any]]:
    """The records of a load: medians, and medians of the rounds' ratios."""
    bars = dict(load.peer_bars)
    for server in runs:
        bar = load.cost_bar if server == OURS else None
        yield _record(load, f"{server}, CPU", _median(runs, server, "cpu_us"), "us", bar, most=True)
        yield _record(load, f"{server}, rate", _median(runs, server, "rate"), "1/s")
        if server == ALONE:
            continue
        yield _record(load, f"{server}, p50", _median(runs, server, "p50_ms"), "ms")
        yield _record(load, f"{server}, p99", _median(runs, server, "p99_ms"), "ms")
        share = _ratio(runs, server, ALONE, "rate")
        bar = load.share_bar if server == OURS else None
        yield _record(load, f"{server}, share of the rate of {ALONE}", share, "", bar)
        gigabytes = _median(runs, server, "rate") * MODELS[load.model].record_bytes / 1e9
        bar = load.gigabytes_bar if server == OURS else None
        yield _record(load, f"{server}, tensors", gigabytes, "GB/s", bar)
        if server != OURS:
            saved = _ratio(runs, server, OURS, "cpu_us")
            name = f"{OURS} / {server}, requests a second per core"
            yield _record(load, name, saved, "times", bars.get(server))


def tables(measured: Mapping[Load, Runs]) -> Iterator[str]:
    """Lines of tables: a row for each load, a column for each server."""
    figures = {
        "CPU, us a request": ("{:.1f}", ("cpu_us",)),
        "requests a second": ("{:.0f}", ("rate",)),
        "p50 / p99, ms": ("{:.2f} / {:.2f}", LATENCIES),
    }
    for title, (form, attributes) in figures.items():
        servers = [each for each in next(iter(measured.values())) if each != ALONE or attributes != LATENCIES]
        yield ""
        yield f"{title:<32}" + "".join(f"{server:>17}" for server in servers)
        for load, runs in measured.items():
            cells = (form.format(*(_median(runs, server, each) for each in attributes)) for server in servers)
            yield f"{load.name:<32}" + "".join(f"{cell:>17}" for cell in cells)


def bars(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines that say of every bar whether it holds."""
    yield ""
    for record in records:
        if record["bar"] is not None:
            held = "holds" if record["holds"] else "MISSED"
            value = f"{record['value']:>9.4g} {record['unit']:<6}"
            yield f"{record['name']:<72}{value}bar {record['bar']:<6g}{held}"


def _record(
    load: Load, name: str, value: float, unit: str, bar: float | None = None, *, most: bool = False
) -> dict[str, Any]:
    holds = bar is None or (value <= bar if most else value >= bar)
    return {"name": f"{load.name}: {name}", "value": value, "unit": unit, "bar": bar, "holds": holds}


def _median(runs: Runs, server: str, figure: str) -> float:
    return float(statistics.median(getattr(run, figure) for run in runs[server]))


def _ratio(runs: Runs, server: str, other: str, figure: str) -> float:
    pairs = zip(runs[server], runs[other], strict=True)
    return float(statistics.median(getattr(one, figure) / getattr(two, figure) for one, two in pairs))
