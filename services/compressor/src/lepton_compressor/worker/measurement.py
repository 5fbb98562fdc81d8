"""What a model is worth where it will run: its answers on the held-out records, and its time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lepton_common.errors import InvalidModel
from lepton_compressor.selection import Candidate
from lepton_compressor.worker.held_out import HeldOut, Records

BATCH = 32
ROUNDS = 5
ROUND_SECONDS = 0.1
SCORING_BATCH = 256

Session = Any
"""An `onnxruntime.InferenceSession`, which has no types."""


@dataclass(frozen=True)
class Latency:
    """Median milliseconds on one thread."""

    single: float
    """Of one record."""
    batch: float
    """Of 32 records."""


@dataclass(frozen=True)
class Runnable:
    """A model that runs, and what it says."""

    model: bytes
    session: Session
    answers: NDArray[np.float32]
    """To all held-out records: probabilities [n, classes] or predictions [n, 1]."""


def load(name: str, model: bytes, held_out: HeldOut, *, provider: str) -> Runnable:
    """Open a model and ask it about the held-out records.

    Raises:
        InvalidModel: it cannot be run, or does not answer in numbers.
    """
    options = onnxruntime.SessionOptions()
    # One thread, so that times compare and other work is not disturbed.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
        answers = _answers(session, held_out.records)
    except Exception as error:
        # The errors of ONNX Runtime have no class in common.
        raise InvalidModel(f"ONNX Runtime cannot run the {name} model: {first_line(error)}") from error
    if not np.isfinite(answers).all():
        raise InvalidModel(f"the {name} model gives answers that are infinite or no numbers")
    return Runnable(model, session, answers)


def measure(
    models: Mapping[str, Runnable], held_out: HeldOut, expected: NDArray[np.float32]
) -> list[Candidate]:
    """Size, score, difference to Keras's answers and latency of every model by name, in one run."""
    times = _latencies([each.session for each in models.values()], held_out.records)
    return [
        Candidate(
            name=name,
            precision=f"PRECISION_{name.upper()}",
            size_bytes=len(each.model),
            score=held_out.score(each.answers),
            metric=held_out.metric,
            latency_ms=latency.single,
            batch_latency_ms=latency.batch,
            max_difference=float(np.abs(each.answers - expected).max()),
            # What really runs it: a provider that is missing is replaced without a word.
            provider=each.session.get_providers()[0],
        )
        for (name, each), latency in zip(models.items(), times, strict=True)
    ]


def first_line(error: Exception) -> str:
    """What a foreign library says of its failure, short enough to pass on."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def _answers(session: Session, records: Records) -> NDArray[np.float32]:
    count = len(next(iter(records.values())))
    return np.concatenate(
        [
            session.run(
                None, {name: values[start : start + SCORING_BATCH] for name, values in records.items()}
            )[0]
            for start in range(0, count, SCORING_BATCH)
        ]
    )


def _latencies(sessions: Sequence[Session], records: Records) -> list[Latency]:
    """Time all sessions in turn, round by round, so that a change of the machine's speed meets them all.

    Of the medians of the rounds the best counts: what else the machine does only ever adds time.
    """
    one = {name: values[:1] for name, values in records.items()}
    several = {name: np.resize(values, (BATCH, *values.shape[1:])) for name, values in records.items()}
    rounds = [
        [(_median_ms(session, one), _median_ms(session, several)) for session in sessions]
        for _ in range(ROUNDS)
    ]
    best = np.array(rounds).min(axis=0)
    return [Latency(float(single), float(batch)) for single, batch in best]


def _median_ms(session: Session, feed: Records) -> float:
    session.run(None, feed)
    times: list[float] = []
    end = time.perf_counter() + ROUND_SECONDS
    while time.perf_counter() < end or not times:
        began = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1000
