"""The state of a training between two steps, kept where the next attempt finds it on any machine."""

import io
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import ChecksumMismatch, LeptonError, NotFound
from lepton_common.manifests import Blob, get_blob, put_blob
from lepton_common.objects import ObjectStore
from lepton_learn.update import Update

_KEPT = 2
"""Checkpoints that an attempt keeps: the last, and one more in case that the last cannot be read."""

_log = logging.getLogger(__name__)

Snapshot = Mapping[str, NDArray[Any]]
"""A whole state, copied, as named arrays."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a training is, apart from the variables of the model and of its update."""

    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Steps done of the epoch at hand."""
    total: float = 0.0
    """Sum of the losses of the records of those steps."""
    history: tuple[dict[str, float], ...] = ()
    """Figures of each whole epoch."""
    best_epoch: int = 0
    """The best of them, counted from 1; 0 before there is one."""
    best_loss: float = float("inf")
    """Its loss."""
    best_weights: tuple[NDArray[Any], ...] = ()
    """Its weights, as the model's `get_weights` gives them."""


def snapshot(state: State, model: keras.Model, update: Update) -> Snapshot:
    """The whole state: variables by place (dropout's generators too), and the rest as JSON."""
    facts = {field.name: getattr(state, field.name) for field in fields(state)}
    best = facts.pop("best_weights")
    arrays = {f"variable_{place}": np.array(value) for place, value in enumerate(_values(model, update))}
    arrays |= {f"best_{place}": weights for place, weights in enumerate(best)}
    return arrays | {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}


def restore(data: bytes, model: keras.Model, update: Update) -> State:
    """Set the variables of a model and its update, both made as they were, and return where they were."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        facts = json.loads(archive["facts"].tobytes())
        for place, variable in enumerate(_variables(model, update)):
            variable.assign(archive[f"variable_{place}"])
        best = sum(name.startswith("best_") for name in archive.files)
        weights = tuple(archive[f"best_{place}"] for place in range(best))
    return State(**{**facts, "history": tuple(facts["history"]), "best_weights": weights})


def _variables(model: keras.Model, update: Update) -> list[Any]:
    return [*(variable.value for variable in model.variables), *update.variables]


def _values(model: keras.Model, update: Update) -> list[NDArray[Any]]:
    return [variable.numpy() for variable in _variables(model, update)]


@dataclass(frozen=True, kw_only=True, order=True)
class _Saved:
    """A checkpoint that is there."""

    attempt: int
    step: int
    key: str


class Checkpoints:
    """Checkpoints below a prefix of the object store, `<prefix>/<attempt>/<step>/blobs/<sha256>`.

    An attempt writes and deletes in its own folder alone. So a worker that was cut off and goes on beside the
    attempt that replaced it can spoil nothing.
    """

    def __init__(self, store: ObjectStore, prefix: str, *, attempt: int = 1) -> None:
        """Keep the checkpoints of one attempt below `prefix`."""
        self._store = store
        self._prefix = prefix
        self._attempt = attempt

    def save(self, step: int, state: Snapshot) -> None:
        """Keep the state after so many steps, and drop this attempt's that are older than the one before."""
        sink = io.BytesIO()
        np.savez(sink, allow_pickle=False, **state)
        put_blob(self._store, f"{self._prefix}/{self._attempt:06d}/{step:012d}", sink.getvalue())
        own = [saved for saved in self._saved() if saved.attempt == self._attempt]
        for saved in own[:-_KEPT]:
            self._store.delete(saved.key)

    def latest(self) -> str:
        """The key of the checkpoint to go on from; empty if there is none.

        It is the latest of the latest attempt whose bytes are whole.
        """
        for saved in reversed(self._saved()):
            try:
                self.read(saved.key)
            except (ChecksumMismatch, NotFound):
                continue
            return saved.key
        return ""

    def read(self, key: str) -> bytes:
        """A checkpoint by its key, its bytes checked.

        Raises:
            NotFound: it is gone.
            ChecksumMismatch: its bytes are not the ones that were written.
        """
        info = self._store.stat(key)
        size = 0 if info is None else info.size
        return get_blob(self._store, Blob(key=key, sha256=key.rsplit("/", 1)[-1], size_bytes=size))

    def _saved(self) -> list[_Saved]:
        """What is there, oldest first."""
        pattern = re.compile(re.escape(self._prefix) + r"/(\d{6})/(\d{12})/blobs/[0-9a-f]{64}")
        return sorted(
            _Saved(attempt=int(match[1]), step=int(match[2]), key=info.key)
            for info in self._store.list(self._prefix)
            if (match := pattern.fullmatch(info.key))
        )


class Saver:
    """Saves on a thread of its own, so that the training waits for a copy in memory and no more."""

    def __init__(self, checkpoints: Checkpoints, *, before: Callable[[], None], seconds: float) -> None:
        """Prepare to save.

        Args:
            checkpoints: where.
            before: is called before each, on the thread: what was told goes first, for a training that goes
                on from the checkpoint does not tell it again.
            seconds: shortest time from one to the next.
        """
        self._checkpoints = checkpoints
        self._before = before
        self._seconds = seconds
        self._waiting: tuple[int, Snapshot] | None = None
        self._work = threading.Condition()
        self._closed = False
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)
        self._thread.start()

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self._waiting is None and time.monotonic() - self._last >= self._seconds

    def save(self, step: int, state: Snapshot) -> None:
        """Save a state soon; one that still waits is older, and is not needed any more."""
        self._last = time.monotonic()
        with self._work:
            self._waiting = (step, state)
            self._work.notify()

    def close(self) -> None:
        """Save what still waits, and end."""
        with self._work:
            self._closed = True
            self._work.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._waiting is not None or self._closed)
                if self._waiting is None:
                    return
                (step, state), self._waiting = self._waiting, None
            try:
                self._before()
                self._checkpoints.save(step, state)
            except LeptonError as error:
                # The training goes on without; the next one is due soon.
                _log.warning("a checkpoint could not be saved: %s", error)
