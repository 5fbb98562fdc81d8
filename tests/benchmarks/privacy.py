"""What privacy costs: private steps beside plain ones, on the same model and data.

    make bench-privacy

Prints a table and writes `build/bench/privacy.json` as records `name, value, unit, bar, holds`. Both are
timed in one process each, in turn, from the end of the first epochs on; of the rounds' ratios the median
counts. A private step computes a gradient for each record, and batches as large as the largest drawn.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 3
EPOCHS = {"mlp": 24, "cnn": 8}
FIRST_EPOCHS = 3
BATCH = 256


def main() -> None:
    """Measure, print, write."""
    if len(sys.argv) > 1:
        print(measure(sys.argv[1], private=sys.argv[2] == "private"))
        return
    records = []
    for family in EPOCHS:
        pairs = [[_steps_per_second(family, how) for how in ("private", "plain")] for _ in range(ROUNDS)]
        private, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(plain / private for private, plain in pairs)
        records += [
            {"name": f"{family}, private", "value": private, "unit": "steps/s", "bar": None, "holds": True},
            {"name": f"{family}, plain", "value": plain, "unit": "steps/s", "bar": None, "holds": True},
            {
                "name": f"{family}, plain / private",
                "value": ratio,
                "unit": "ratio",
                "bar": None,
                "holds": True,
            },
        ]
    for record in records:
        print(f"{record['name']:22} {record['value']:10.2f} {record['unit']}")
    target = Path("build/bench/privacy.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def _steps_per_second(family: str, how: str) -> float:
    done = subprocess.run([sys.executable, __file__, family, how], capture_output=True, check=True)
    return float(done.stdout.split()[-1])


class _Clock:
    """An observer that notes when each epoch had ended."""

    stop_requested = False

    def __init__(self, epochs: int) -> None:
        self.ends: list[float] = []
        self._epochs = epochs

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        """Note the time of an epoch's last step."""
        if done % (total // self._epochs) == 0:
            self.ends.append(time.perf_counter())

    def metric(self, name: str, step: int, value: float) -> None:
        """Hear nothing: a private training without a validation split tells no figure."""

    def flush(self) -> None:
        """Write nothing down."""


def measure(family: str, *, private: bool) -> float:
    """Steps a second, from the end of the first epochs on."""
    from lepton_learn import environment

    environment.prepare()
    from lepton_learn.examples import Examples
    from lepton_learn.families import build_model
    from lepton_learn.loop import seed_everything, train
    from lepton_learn.recipe import Cnn, Convergence, Mlp, Privacy, Recipe
    from lepton_learn.task import Classification

    transform, records = _digits()
    recipe = Recipe(
        architecture=Cnn(filters=(16, 32), normalization="group") if family == "cnn" else Mlp(),
        batch_size=BATCH,
        max_epochs=EPOCHS[family],
        convergence=Convergence(patience=0),
        privacy=Privacy(noise_multiplier=1.0) if private else None,
    )
    seed_everything(recipe.seed)
    clock = _Clock(recipe.max_epochs)
    train(
        build_model(recipe.architecture, transform, label_scale=None),
        Classification(from_logits=True),
        recipe=recipe,
        training=Examples(transform, records),
        validation=Examples(transform, {name: column[:0] for name, column in records.items()}),
        observer=clock,
    )
    ends = clock.ends[FIRST_EPOCHS:]
    return -(-len(records["digit"]) // BATCH) * (len(ends) - 1) / (ends[-1] - ends[0])


def _digits() -> tuple[Any, dict[str, Any]]:
    """The 1,797 scanned digits of 8x8 pixels, five times."""
    from sklearn.datasets import load_digits

    from lepton_learn.schema import Column, ColumnType, Schema, Transform
    from lepton_learn.transform import FittedTransform

    bunch = load_digits()
    pixels = (bunch.images * 255 / 16).round().astype(np.uint8)[..., np.newaxis]
    columns = (
        Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(8, 8, 1)),
        Column(name="digit", type=ColumnType.INTEGER, transform=Transform.INDEX),
    )
    records = {
        "image": np.tile(pixels, (5, 1, 1, 1)),
        "digit": np.tile(bunch.target.astype(np.int64), 5),
    }
    return FittedTransform.fit(Schema(columns, "digit"), [records]), records


if __name__ == "__main__":
    main()
