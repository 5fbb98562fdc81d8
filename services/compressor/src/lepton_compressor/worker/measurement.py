"""What a model is worth where it will run: its outputs on the held-out split, and its time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Records = Mapping[str, NDArray[Any]]
"""Raw columns by input name; the first axis is the records."""

BATCH = 32
ROUNDS = 5
ROUND_SECONDS = 0.1
SCORING_BATCH = 256


@dataclass(frozen=True)
class Latency:
    """Median milliseconds on one thread."""

    single: float
    """Of one record."""
    batch: float
    """Of 32 records."""


def open_session(model: bytes, *, provider: str) -> onnxruntime.InferenceSession:
    """A session on one thread, so that times compare and other work is not disturbed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=[provider])


def outputs(session: onnxruntime.InferenceSession, records: Records) -> NDArray[np.float32]:
    """The first output over all records."""
    count = len(next(iter(records.values())))
    parts = [
        session.run(
            None,
            {name: values[start : start + SCORING_BATCH] for name, values in records.items()},
        )[0]
        for start in range(0, count, SCORING_BATCH)
    ]
    return np.concatenate(parts)


def accuracy(probabilities: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Share of the records whose likeliest class is the label. Shapes [n, classes] and [n]."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def negative_relative_error(predictions: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """-mse / variance of the labels, which is R^2 - 1: 0 at best, -1 for always predicting the mean. Shapes
    [n, 1] and [n]."""
    errors = predictions.reshape(-1).astype(np.float64) - labels
    variance = float(np.var(labels.astype(np.float64))) or 1.0
    return -float(np.mean(errors**2)) / variance


def latencies(sessions: Sequence[onnxruntime.InferenceSession], records: Records) -> list[Latency]:
    """Time all sessions in turn, round by round, so that a change of the machine's speed meets them all."""
    one = {name: values[:1] for name, values in records.items()}
    several = {name: np.resize(values, (BATCH, *values.shape[1:])) for name, values in records.items()}
    singles: list[list[float]] = [[] for _ in sessions]
    batches: list[list[float]] = [[] for _ in sessions]
    for _ in range(ROUNDS):
        for place, session in enumerate(sessions):
            singles[place].append(_median_ms(session, one))
            batches[place].append(_median_ms(session, several))
    return [
        Latency(float(np.median(single)), float(np.median(batch)))
        for single, batch in zip(singles, batches, strict=True)
    ]


def _median_ms(session: onnxruntime.InferenceSession, feed: Records) -> float:
    session.run(None, feed)
    times = []
    end = time.perf_counter() + ROUND_SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1000
