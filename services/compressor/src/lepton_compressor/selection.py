"""Which candidate is kept, and why each other is not.

A candidate is measured where it will run. It is kept only if it is still right enough, smaller than the
plain export, and not much slower: fewer bits are no gain by themselves (8-bit models are often slower than
fp32 where the provider has no kernels for them).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lepton_common.errors import NoCandidate

MOST_SLOWDOWN = 1.5
"""A batch may take this much longer than with fp32: some time for much space, which the cost below weighs."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to store the model, measured on the held-out split."""

    name: str
    """Example: "int8"."""
    precision: str
    """Name of the contract's Precision. Example: "PRECISION_INT8"."""
    size_bytes: int
    score: float
    """Higher is better: accuracy, or the negative mean squared error relative to the label's variance."""
    metric: str
    """Name of the score."""
    latency_ms: float
    """Median milliseconds of one record on one thread."""
    batch_latency_ms: float
    """Median milliseconds of 32 records on one thread."""
    max_difference: float
    """Largest absolute difference of the outputs to Keras's."""
    provider: str
    """The execution provider it was measured on."""
    selected: bool = False
    rejection: str = ""
    """Why it was not kept, with the figures."""

    def to_dict(self) -> dict[str, Any]:
        """As the worker's outcome has it."""
        return asdict(self)


def select(plain: Candidate, others: Sequence[Candidate], *, max_drop: float) -> list[Candidate]:
    """Judge the candidates.

    Args:
        plain: the uncompressed export, fp32. It is kept if no other holds.
        others: the rest; one that could not be built or run has its `rejection` already.
        max_drop: how much of the score a candidate may lose against `plain`.

    Returns:
        All candidates, `plain` first; one is `selected`, every other has a `rejection`.
    """
    judged = [replace(each, rejection=each.rejection or _fault(plain, each, max_drop)) for each in others]
    standing = [each for each in judged if not each.rejection]
    best = min([plain, *standing], key=_cost)
    return [_mark(each, best) for each in (plain, *judged)]


def unbuilt(plain: Candidate, name: str, rejection: str) -> Candidate:
    """A candidate that there is nothing to measure of."""
    return replace(
        plain,
        name=name,
        precision=f"PRECISION_{name.upper()}",
        size_bytes=0,
        score=0.0,
        latency_ms=0.0,
        batch_latency_ms=0.0,
        max_difference=0.0,
        rejection=rejection,
    )


def selected(candidates: Sequence[Candidate]) -> Candidate:
    """The one that was kept.

    Raises:
        NoCandidate: none was.
    """
    for candidate in candidates:
        if candidate.selected:
            return candidate
    raise NoCandidate("no candidate was selected")


def _fault(plain: Candidate, candidate: Candidate, max_drop: float) -> str:
    drop = plain.score - candidate.score
    # Scores are counts over a split: compare with slack for the last bit only.
    if drop > max_drop + 1e-9:
        return (
            f"{candidate.metric} fell by {drop:.4f}, from {plain.score:.4f} to {candidate.score:.4f}; "
            f"{max_drop:.4f} is allowed"
        )
    if candidate.size_bytes >= plain.size_bytes:
        return f"not smaller: {candidate.size_bytes:,} bytes against {plain.size_bytes:,}"
    slowdown = candidate.batch_latency_ms / plain.batch_latency_ms
    if slowdown > MOST_SLOWDOWN:
        return (
            f"slower on {candidate.provider}: {candidate.batch_latency_ms:.3f} ms for 32 records against "
            f"{plain.batch_latency_ms:.3f} ms"
        )
    return ""


def _cost(candidate: Candidate) -> float:
    """Bytes times milliseconds: what saves a tenth of the one may cost a tenth of the other."""
    return candidate.size_bytes * candidate.batch_latency_ms


def _mark(candidate: Candidate, best: Candidate) -> Candidate:
    if candidate is best:
        return replace(candidate, selected=True)
    if candidate.rejection:
        return candidate
    return replace(
        candidate,
        rejection=f"{best.name} is better: {_figures(best)} against {_figures(candidate)}",
    )


def _figures(candidate: Candidate) -> str:
    return f"{candidate.size_bytes:,} bytes and {candidate.batch_latency_ms:.3f} ms for 32 records"
