"""How the processes of a training become a team."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from lepton_common.jobs.launcher import RESTART_EXIT_CODE
from lepton_common.jobs.worker import Worker
from lepton_learn.team import Team

_FORMING_SECONDS = 120.0
"""How long TensorFlow may take to connect workers that have just met."""

_log = logging.getLogger(__name__)


def form_team(worker: Worker) -> Team:
    """The team of a worker whose peers have met just now.

    Several workers hold one replica on each of their GPUs, or else one on their CPU; their gradients are
    summed by collective operations: ring, or NCCL between GPUs.
    """
    if worker.workers == 1:
        return Team.alone()
    task = {"type": "worker", "index": worker.index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(worker.peers)}, "task": task})
    with _deadline(_FORMING_SECONDS):
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    # It has put a handler of its own in the place of the worker's.
    worker.listen_for_stop()
    return Team(strategy, index=worker.index, workers=worker.workers)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End the process for a restart if the block, which nothing interrupts, takes longer."""
    timer = end_after(seconds, "the workers could not be connected")
    try:
        yield
    finally:
        timer.cancel()


def end_after(seconds: float, reason: str) -> threading.Timer:
    """End the process for a restart in so many seconds, whatever it does then, unless that is cancelled."""

    def end() -> None:
        _log.error("%s within %.0f seconds", reason, seconds)
        os._exit(RESTART_EXIT_CODE)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer
