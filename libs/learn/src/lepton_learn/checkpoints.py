"""The state of a training at the end of an epoch, kept where the next attempt finds it on any machine."""

import io
import json
import re
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import ChecksumMismatch
from lepton_common.manifests import Blob, get_blob, put_blob
from lepton_common.objects import ObjectStore

_KEPT = 2
"""Checkpoints that are kept: the last, and one more in case that the last cannot be read."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a training is, apart from the variables of model and optimizer."""

    epoch: int
    """Epochs done."""
    history: tuple[dict[str, float], ...]
    """Figures of each."""
    best_epoch: int
    """The best of them, counted from 1; 0 before there is one."""
    best_loss: float
    """Its loss."""
    best_weights: list[NDArray[Any]]
    """Its weights, as the model's `get_weights` gives them."""

    @classmethod
    def fresh(cls) -> "State":
        """The state before the first epoch."""
        return cls(epoch=0, history=(), best_epoch=0, best_loss=float("inf"), best_weights=[])


def snapshot(state: State, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> bytes:
    """The whole state as `.npz`: variables by place (dropout's generators too), the rest as JSON."""
    facts = {
        "epoch": state.epoch,
        "history": state.history,
        "best_epoch": state.best_epoch,
        "best_loss": state.best_loss,
    }
    arrays = {f"variable_{place}": value.numpy() for place, value in enumerate(_variables(model, optimizer))}
    arrays |= {f"best_{place}": weights for place, weights in enumerate(state.best_weights)}
    sink = io.BytesIO()
    np.savez(sink, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)
    return sink.getvalue()


def restore(data: bytes, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> State:
    """The inverse of `snapshot`; sets the variables of model and optimizer, both built as they were."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        facts = json.loads(archive["facts"].tobytes())
        for place, variable in enumerate(_variables(model, optimizer)):
            variable.assign(archive[f"variable_{place}"])
        best = sum(name.startswith("best_") for name in archive.files)
        return State(
            epoch=facts["epoch"],
            history=tuple(facts["history"]),
            best_epoch=facts["best_epoch"],
            best_loss=facts["best_loss"],
            best_weights=[archive[f"best_{place}"] for place in range(best)],
        )


def _variables(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> list[Any]:
    return [*model.variables, *optimizer.variables]


class Checkpoints:
    """Checkpoints below a prefix of the object store, `<prefix>/<epoch>/blobs/<sha256>`.

    The key is the digest, so a worker that was cut off and goes on writing can spoil nothing.
    """

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        """Keep checkpoints below `prefix`."""
        self._store = store
        self._prefix = prefix

    def save(self, epoch: int, data: bytes) -> None:
        """Keep the state at the end of an epoch and drop what is older than the one before."""
        put_blob(self._store, f"{self._prefix}/{epoch:08d}", data)
        for saved_epoch, blob in self._saved():
            if saved_epoch <= epoch - _KEPT:
                self._store.delete(blob.key)

    def latest(self) -> bytes | None:
        """The state of the latest epoch whose bytes are whole; None if there is none."""
        for _, blob in reversed(self._saved()):
            try:
                return get_blob(self._store, blob)
            except ChecksumMismatch:
                continue
        return None

    def _saved(self) -> list[tuple[int, Blob]]:
        """What is there, by epoch."""
        pattern = re.compile(re.escape(self._prefix) + r"/(\d{8})/blobs/([0-9a-f]{64})")
        found = [
            (int(match[1]), Blob(key=info.key, sha256=match[2], size_bytes=info.size))
            for info in self._store.list(self._prefix)
            if (match := pattern.fullmatch(info.key))
        ]
        return sorted(found, key=lambda one: one[0])
