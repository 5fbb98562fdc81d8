"""The scalars of a training as TensorBoard reads them.

An event file is a TFRecord file of `tensorflow.Event` messages, of which the first names the version of the
format. TensorFlow has both; its own writer of summaries needs the tensorboard package besides.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tensorflow as tf
from tensorflow.core.framework import summary_pb2
from tensorflow.core.util import event_pb2

EVENTS = "events.out.tfevents.0.lepton"
"""Name of the event file: TensorBoard reads those that have `tfevents` in theirs."""

_VERSION = "brain.Event:2"


@dataclass(frozen=True)
class Scalar:
    """One point of a curve."""

    tag: str
    """The curve; what is before the first `/` is the group that it is shown in."""
    step: int
    value: float


def event_file(scalars: Iterable[Scalar]) -> bytes:
    """An event file of these scalars, in their order.

    The time of an event is its step in seconds, not a clock's: equal trainings have equal files.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / EVENTS
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(event_pb2.Event(file_version=_VERSION).SerializeToString())
            for scalar in scalars:
                value = summary_pb2.Summary.Value(tag=scalar.tag, simple_value=scalar.value)
                event = event_pb2.Event(
                    wall_time=scalar.step, step=scalar.step, summary=summary_pb2.Summary(value=[value])
                )
                writer.write(event.SerializeToString())
        return path.read_bytes()
