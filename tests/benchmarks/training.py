"""How fast the training loop is; what the loader, checkpoints and restarts cost; what XLA and workers bring.

    make bench-training

Prints a table and writes `build/bench/training.json` as records `name, value, unit, bar, holds`. On the same
model and data the loop trains from memory, from the local disk and compiled by XLA, beside Keras's own `fit`,
in processes of their own, in turn: the loop computes the same bits at every run, and `fit` is free not to.
What is timed begins after the first epochs, when all is compiled. Of the rounds' ratios the median counts.
Run it on an otherwise idle machine.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import training_workers

ROUNDS = 3
EPOCHS = {"mlp": 40, "cnn": 7, "resnet": 7}
XLA_EPOCHS = {"mlp": 40, "cnn": 4, "resnet": 4}
RECORDS = {"resnet": 640}
"""How many records an epoch has where all of them would take minutes."""
FIRST_EPOCHS = 2
BATCH = 64
FIT_BAR = 1.0
LOADER_BAR = 0.95
PAUSE_BAR_MS = 50.0
PAUSES = 20


def main() -> None:
    """Measure, print, write."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
        return
    records = []
    for family in EPOCHS:
        records += _rates(family)
    pause = _run("pause", "resnet")
    records.append(_record("ResNet-20, checkpoint, training waits", pause["pause"], "ms", PAUSE_BAR_MS))
    records.append(_record("ResNet-20, checkpoint, until it is kept", pause["kept"], "ms"))
    workers = _run("workers", "cnn")
    records += [
        _record("cnn, one worker", workers["one"], "steps/s"),
        _record("cnn, two workers", workers["two"], "steps/s"),
        _record("cnn, two workers / one", workers["two"] / workers["one"], "ratio"),
        _record("killed, from process start to the next step", workers["resume"], "s"),
    ]
    for record in records:
        bar = "" if record["bar"] is None else f"(bar {record['bar']:g}: {record['holds']})"
        print(f"{record['name']:45} {record['value']:10.2f} {record['unit']:8} {bar}".rstrip())
    target = Path("build/bench/training.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def _record(name: str, value: float, unit: str, bar: float | None = None) -> dict[str, Any]:
    """A figure; times may be at most their bar, ratios must be at least theirs."""
    holds = bar is None or (value <= bar if unit == "ms" else value >= bar)
    return {"name": name, "value": value, "unit": unit, "bar": bar, "holds": holds}


def _rates(family: str) -> list[dict[str, Any]]:
    loops, fits = [], []
    for place in range(ROUNDS):
        loops.append(_run("loop", family, place))
        fits.append(_run("fit", family)["fit"])
    compiled = _run("xla", family)["xla"]
    memory, disk = (statistics.median(loop[name] for loop in loops) for name in ("memory", "disk"))
    to_fit = statistics.median(loop["memory"] / fit for loop, fit in zip(loops, fits, strict=True))
    to_memory = statistics.median(loop["disk"] / loop["memory"] for loop in loops)
    return [
        _record(f"{family}, loop", memory, "steps/s"),
        _record(f"{family}, Keras fit", statistics.median(fits), "steps/s"),
        _record(f"{family}, loop / fit", to_fit, "ratio", FIT_BAR),
        _record(f"{family}, loop from disk", disk, "steps/s"),
        _record(f"{family}, from disk / from memory", to_memory, "ratio", LOADER_BAR),
        _record(f"{family}, loop with XLA", compiled, "steps/s"),
        _record(f"{family}, with XLA / without", compiled / memory, "ratio"),
    ]


def _run(what: str, family: str, place: int = 0) -> dict[str, float]:
    command = [sys.executable, __file__, what, family, str(place)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(what: str, family: str, place: int) -> dict[str, float]:
    """What one process finds out; `place` is that of its round."""
    from lepton_learn import environment

    environment.prepare()
    match what:
        case "loop":
            # Whoever is first has the caches cold.
            homes = ("memory", "disk") if place % 2 == 0 else ("disk", "memory")
            return {home: _measure_loop(family, home=home, epochs=EPOCHS[family]) for home in homes}
        case "xla":
            return {"xla": _measure_loop(family, home="memory", epochs=XLA_EPOCHS[family], xla=True)}
        case "pause":
            return _measure_pause(family)
        case "workers":
            return _measure_workers(family)
        case _:
            return {"fit": _measure_fit(family)}


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
    from lepton_learn.recipe import Architecture, Cnn, Mlp, ResNet
    from lepton_learn.schema import Column, ColumnType, Schema, Transform
    from lepton_learn.transform import FittedTransform

    columns = (
        Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(28, 28, 1)),
        Column(name="digit", type=ColumnType.INTEGER, transform=Transform.INDEX),
    )
    images, digits = _digits()
    records = {"image": images[: RECORDS.get(family)], "digit": digits[: RECORDS.get(family)]}
    transform = FittedTransform.fit(Schema(columns, "digit"), [records])
    architectures: dict[str, Architecture] = {"mlp": Mlp(), "cnn": Cnn(), "resnet": ResNet(depth=20)}
    architecture = architectures[family]
    return transform, records, architecture, lambda: build_model(architecture, transform, label_scale=None)


def _examples(transform: Any, records: Any, home: str) -> Any:
    """The records in memory, or in a file."""
    from lepton_learn.examples import Examples
    from lepton_learn.rows import Layout, ScratchRows

    if home == "memory":
        return Examples(transform, records)
    labels = transform.labels(records)
    layout = Layout.of(transform, len(labels), limit_bytes=0)
    rows = ScratchRows(Path(tempfile.gettempdir()), len(labels), layout.row_bytes)
    rows.write(0, layout.pack(records))
    return Examples.of_rows(layout, rows, labels=labels)


def _recipe(architecture: Any, epochs: int) -> Any:
    from lepton_learn.recipe import Convergence, Recipe

    return Recipe(
        architecture=architecture,
        batch_size=BATCH,
        max_epochs=epochs,
        convergence=Convergence(patience=0),
    )


def _measure_loop(family: str, *, home: str, epochs: int, xla: bool = False) -> float:
    from lepton_learn.loop import seed_everything, train
    from lepton_learn.task import Classification

    transform, records, architecture, build = _prepared(family)
    recipe = replace(_recipe(architecture, epochs), xla=xla)
    seed_everything(recipe.seed, xla=xla)
    clock = _Clock()
    train(
        build(),
        Classification(from_logits=True),
        recipe=recipe,
        training=_examples(transform, records, home),
        validation=_examples(transform, {name: column[:0] for name, column in records.items()}, "memory"),
        observer=clock,
    )
    return clock.steps_per_second(-(-len(records["digit"]) // BATCH))


def _measure_pause(family: str) -> dict[str, float]:
    """Milliseconds that a training waits for a checkpoint, and that it takes to be kept; medians."""
    from lepton_common.objects import ObjectStore
    from lepton_learn.checkpoints import Checkpoints, Saver, State, snapshot
    from lepton_learn.update import Update

    *_, architecture, build = _prepared(family)
    model = build()
    recipe = _recipe(architecture, 1)
    update = Update(recipe.optimizer, model.trainable_variables, steps=1, scaled=False)
    state = State(best_weights=tuple(model.get_weights()))
    pauses, kept = [], []
    with tempfile.TemporaryDirectory() as folder:
        for step in range(PAUSES):
            checkpoints = Checkpoints(ObjectStore(f"file://{folder}"), "jobs/j/checkpoints")
            saver = Saver(checkpoints, before=lambda: None, seconds=0.0)
            begun = time.perf_counter()
            saver.save(step, snapshot(state, model, update))
            pauses.append(time.perf_counter() - begun)
            saver.close()
            kept.append(time.perf_counter() - begun)
    return {"pause": 1000 * statistics.median(pauses), "kept": 1000 * statistics.median(kept)}


def _measure_workers(family: str) -> dict[str, float]:
    from lepton_learn.recipe import Recipe

    transform, records, architecture, _ = _prepared(family)
    recipe: Recipe = _recipe(architecture, 10_000)
    return training_workers.measure(transform, records, recipe.to_dict())


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
