"""Steps that XLA compiles: the same curve, and trainings that go on where they were killed.

TensorFlow's promise of determinism, which all other trainings ask for, cannot be taken back in a process, and
XLA has no gradient of a maximum pool with it: these trainings run in a process of their own.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import hashlib, json, sys
from dataclasses import replace
from lepton_learn import environment
environment.prepare()
import numpy as np
from sklearn.datasets import load_digits
from lepton_common.errors import Cancelled
from lepton_common.objects import ObjectStore
from lepton_learn import loop
from lepton_learn.checkpoints import Checkpoints
from lepton_learn.examples import Examples
from lepton_learn.families import build_model
from lepton_learn.recipe import Cnn, Convergence, Mlp, Recipe
from lepton_learn.schema import Column, ColumnType, Schema, Transform
from lepton_learn.task import task_of
from lepton_learn.transform import FittedTransform

loop._MOST_STEPS = 1
columns = (
    Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(8, 8, 1)),
    Column(name="digit", type=ColumnType.INTEGER, transform=Transform.INDEX),
)
digits = load_digits()
records = {
    "image": (digits.images * 255 / 16).round().astype(np.uint8)[:400, ..., np.newaxis],
    "digit": digits.target.astype(np.int64)[:400],
}
transform = FittedTransform.fit(Schema(columns, "digit"), [records])
part = lambda places: Examples(transform, {name: column[places] for name, column in records.items()})

class Observer:
    def __init__(self, stop_after):
        self.steps, self.stop_after = [], stop_after
    @property
    def stop_requested(self):
        return len(self.steps) >= self.stop_after
    def progress(self, phase, done, total=0, unit=""):
        self.steps.append(done)
    def metric(self, name, step, value): ...
    def flush(self): ...

def run(recipe, *, stop_after=10**9, checkpoints=None):
    loop.seed_everything(recipe.seed, xla=True)
    model = build_model(recipe.architecture, transform, label_scale=None)
    observer = Observer(stop_after)
    key = checkpoints.latest() if checkpoints else ""
    outcome = loop.train(
        model, task_of(model, transform, label_scale=None), recipe=recipe, training=part(slice(0, 320)),
        validation=part(slice(320, 400)), observer=observer, checkpoints=checkpoints,
        saved=checkpoints.read(key) if key else None,
    )
    weights = hashlib.sha256(b"".join(each.tobytes() for each in model.get_weights())).hexdigest()
    return {"weights": weights, "history": outcome.history, "first": observer.steps[0]}

found = {}
for name, architecture in (("mlp", Mlp(dropout=0.2)), ("cnn", Cnn(filters=(4,), dense_units=16))):
    recipe = Recipe(
        architecture=architecture, max_epochs=3, convergence=Convergence(patience=0), seed=3, xla=True
    )
    even = replace(recipe, architecture=replace(architecture, dropout=0.0))
    checkpoints = Checkpoints(ObjectStore(f"file://{sys.argv[1]}"), f"jobs/{name}/checkpoints")
    found[name] = {"whole": run(recipe), "again": run(recipe)}
    try:
        run(recipe, stop_after=7, checkpoints=checkpoints)
    except Cancelled:
        found[name]["resumed"] = run(recipe, checkpoints=checkpoints)
    found[name] |= {"compiled": run(even), "plain": run(replace(even, xla=False))}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came out of each."""
    folder: Path = tmp_path_factory.mktemp("xla")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", ["mlp", "cnn"])
class TestOf:
    def test_the_curve_is_the_one_without(self, trainings: Any, family: str) -> None:
        compiled, plain = (trainings[family][name]["history"] for name in ("compiled", "plain"))
        assert plain[-1]["loss"] < plain[0]["loss"]
        for mine, theirs in zip(compiled, plain, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-3, abs=0.02)

    def test_two_runs_on_a_cpu_are_the_same_to_the_last_bit(self, trainings: Any, family: str) -> None:
        assert trainings[family]["again"] == trainings[family]["whole"]

    def test_a_resumed_training_ends_with_the_weights_of_a_whole_one(
        self, trainings: Any, family: str
    ) -> None:
        whole, resumed = trainings[family]["whole"], trainings[family]["resumed"]
        assert resumed["first"] == 9
        assert (resumed["weights"], resumed["history"]) == (whole["weights"], whole["history"])
