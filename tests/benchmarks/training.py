"""How fast the training loop is beside Keras's own `fit`, on the same model and data.

    make bench-training

Prints a table and writes `build/bench/training.json` as records `name, value, unit, bar, holds`. Both train
in processes of their own, in turn: the loop computes the same bits at every run, and `fit` is free not to.
What is timed begins after the first epochs, when all is compiled. Of the rounds' ratios the median counts.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 5
EPOCHS = {"mlp": 60, "cnn": 12}
FIRST_EPOCHS = 4
BATCH = 64
BAR = 1.0


def main() -> None:
    """Measure, print, write."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], sys.argv[2])))
        return
    records = []
    for family in EPOCHS:
        pairs = [[_steps_per_second(who, family) for who in ("loop", "fit")] for _ in range(ROUNDS)]
        loop, fit = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(own / other for own, other in pairs)
        records += [
            {"name": f"{family}, loop", "value": loop, "unit": "steps/s", "bar": None, "holds": True},
            {"name": f"{family}, Keras fit", "value": fit, "unit": "steps/s", "bar": None, "holds": True},
            {
                "name": f"{family}, loop / fit",
                "value": ratio,
                "unit": "ratio",
                "bar": BAR,
                "holds": ratio >= BAR,
            },
        ]
    for record in records:
        print(f"{record['name']:20} {record['value']:10.2f} {record['unit']}")
    target = Path("build/bench/training.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def _steps_per_second(who: str, family: str) -> float:
    done = subprocess.run([sys.executable, __file__, who, family], capture_output=True, check=True)
    return float(done.stdout.split()[-1])


def measure(who: str, family: str) -> float:
    """Steps a second of `loop` or `fit`, from the end of the first epochs on."""
    from lepton_learn import environment

    environment.prepare()
    return {"loop": _measure_loop, "fit": _measure_fit}[who](family)


def _digits() -> tuple[Any, Any]:
    """5 times the 1,797 scanned digits, moved by up to a pixel so that they differ, as bytes 28x28x1."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = (bunch.images * 255 / 16).round().astype(np.uint8)
    large = np.pad(np.kron(small, np.ones((1, 3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))
    moved = [np.roll(large, shift, axis=(1, 2)) for shift in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))]
    return np.concatenate(moved)[..., np.newaxis], np.tile(bunch.target.astype(np.int64), 5)


class _Clock:
    """An observer that notes when each epoch was told."""

    stop_requested = False

    def __init__(self) -> None:
        self.epochs: list[float] = []

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        """Hear nothing."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Note the time; without a validation split there is one metric by epoch."""
        self.epochs.append(time.perf_counter())

    def flush(self) -> None:
        """Write nothing down."""

    def steps_per_second(self, steps: int) -> float:
        """Of epochs of so many steps."""
        epochs = self.epochs[FIRST_EPOCHS:]
        return steps * (len(epochs) - 1) / (epochs[-1] - epochs[0])


def _prepared(family: str) -> tuple[Any, Any, Any, Callable[[], Any]]:
    from lepton_learn.families import build_model
    from lepton_learn.recipe import Cnn, Mlp
    from lepton_learn.schema import Column, ColumnType, Schema, Transform
    from lepton_learn.transform import FittedTransform

    columns = (
        Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(28, 28, 1)),
        Column(name="digit", type=ColumnType.INTEGER, transform=Transform.INDEX),
    )
    images, digits = _digits()
    records = {"image": images, "digit": digits}
    transform = FittedTransform.fit(Schema(columns, "digit"), [records])
    architecture = Cnn() if family == "cnn" else Mlp()
    return transform, records, architecture, lambda: build_model(architecture, transform, label_scale=None)


def _measure_loop(family: str) -> float:
    from lepton_learn.examples import Examples
    from lepton_learn.loop import seed_everything, train
    from lepton_learn.recipe import Convergence, Recipe
    from lepton_learn.task import Classification

    transform, records, architecture, build = _prepared(family)
    recipe = Recipe(
        architecture=architecture,
        batch_size=BATCH,
        max_epochs=EPOCHS[family],
        convergence=Convergence(patience=0),
    )
    seed_everything(recipe.seed)
    clock = _Clock()
    nothing = Examples(transform, {name: column[:0] for name, column in records.items()})
    train(
        build(),
        Classification(from_logits=True),
        recipe=recipe,
        training=Examples(transform, records),
        validation=nothing,
        observer=clock,
    )
    return clock.steps_per_second(-(-len(records["digit"]) // BATCH))


def _measure_fit(family: str) -> float:
    import keras

    transform, records, _, build = _prepared(family)
    model, clock = build(), _Clock()
    model.compile(
        optimizer=keras.optimizers.Adam(0.001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    class Told(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types.
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            clock.metric("loss", epoch, 0.0)

    # As floats in memory, which is the fastest that can be given to it.
    inputs, labels = transform.inputs(records), transform.labels(records)
    model.fit(inputs, labels, batch_size=BATCH, epochs=EPOCHS[family], verbose=0, callbacks=[Told()])
    return clock.steps_per_second(-(-len(labels) // BATCH))


if __name__ == "__main__":
    main()
