"""Forecasts of real series: cut as a dataset version is, learnt, better than repeating the last season."""

import csv
import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from lepton_common.objects import ObjectStore
from lepton_compressor.worker.held_out import read_held_out
from lepton_compressor.worker.variants import to_fp16, to_int8
from lepton_data_ingest.build import build
from lepton_data_ingest.order import Order, Source
from lepton_data_ingest.schema import DraftSchema
from lepton_learn.artifact import artifact_files, load_artifact
from lepton_learn.evaluation import report
from lepton_learn.examples import Examples
from lepton_learn.exporting import export_onnx
from lepton_learn.families import build_model
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Manifest, Split, load_manifest
from lepton_learn.reading import read_split
from lepton_learn.recipe import Recipe, Tcn
from lepton_learn.series import HISTORY
from lepton_learn.signature import signature
from lepton_learn.task import task_of

pytestmark = [
    # Importing TensorFlow takes ten seconds of a core, and a machine may be busy with other tests.
    pytest.mark.timeout(600),
    # Keras 3.15 asks TensorFlow's variables for their values in a way that numpy 2.4 warns of.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    # The converter says which weights are too small for float16.
    pytest.mark.filterwarnings("ignore:the float32 number .* will be truncated"),
]


def package_file(package: str, *path: str) -> Path:
    """A file of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.joinpath(*path)


def employment(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The people employed in the United States in each month, 2006 to 2015, by industry."""
    path = folder / "employment.csv"
    with (
        package_file("vega_datasets", "_data", "us-employment.csv").open() as source,
        path.open("w") as target,
    ):
        target.write("month,industry,people\n")
        for row in csv.DictReader(source):
            month, _ = row.pop("month"), row.pop("nonfarm_change")
            target.writelines(f"{month},{industry},{people}\n" for industry, people in row.items())
    series = {"time_column": "month", "key_columns": ["industry"], "window": 24, "horizon": 6}
    return path, {"label": "people", "series": series}


def weather(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Seattle's highest temperature of each day, 2012 to 2015, with what else was measured."""
    names = ("temp_max", "temp_min", "precipitation", "wind")
    schema = {
        "label": "temp_max",
        "columns": [{"name": name} for name in names],
        "series": {"time_column": "date", "window": 56, "horizon": 7},
    }
    return package_file("vega_datasets", "_data", "seattle-weather.csv"), schema


def carbon_dioxide(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The weekly carbon dioxide on Mauna Loa, 1958 to 2001, with weeks missing."""
    series = {"time_column": "date", "window": 104, "horizon": 13, "season": 52}
    return package_file("statsmodels", "datasets", "co2", "co2.csv"), {"label": "co2", "series": series}


def economy(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Eight quarterly figures of the economy of the United States, 1959 to 2009, of very different size."""
    names = ("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "pop")
    path = folder / "economy.csv"
    with (
        package_file("statsmodels", "datasets", "macrodata", "macrodata.csv").open() as source,
        path.open("w") as target,
    ):
        target.write("quarter,figure,value\n")
        for row in csv.DictReader(source):
            month = 3 * int(row["quarter"]) - 2
            target.writelines(f"{row['year']}-{month:02}-01,{name},{row[name]}\n" for name in names)
    series = {
        "time_column": "quarter",
        "key_columns": ["figure"],
        "window": 16,
        "horizon": 4,
        "season": 4,
    }
    return path, {"label": "value", "series": series}


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """A trained model, and what it was trained on."""

    store: ObjectStore
    manifest: Manifest
    model: keras.Model
    figures: Mapping[str, float]

    @property
    def exported(self) -> bytes:
        return export_onnx(self.model, self.manifest.transform)

    @property
    def test(self) -> dict[str, NDArray[Any]]:
        return read_split(self.store, self.manifest, Split.TEST)


class Silent:
    """An observer of a training that nobody watches."""

    stop_requested = False

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None: ...

    def metric(self, name: str, step: int, value: float) -> None: ...

    def flush(self) -> None: ...


def version(folder: Path, path: Path, schema: Mapping[str, Any]) -> tuple[ObjectStore, Manifest]:
    """Build a dataset version of a file."""
    store, data = ObjectStore(f"file://{folder}/objects"), path.read_bytes()
    store.put("uploads/one/0", data)
    source = Source(
        upload="uploads/one",
        filename=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        parts="uploads/one",
    )
    order = Order(
        dataset="series",
        sources=(source,),
        schema=DraftSchema.from_json(schema),
        # Weeks without a value, and rows between them that are too few for a window.
        max_rejected_fraction=0.2,
    )
    scratch = folder / "scratch"
    scratch.mkdir()
    built = build(order, store, scratch, progress=lambda phase, done, total: None)
    return store, load_manifest(store, built.manifest.key, sha256=built.manifest.sha256)


def forecaster(folder: Path, path: Path, schema: Mapping[str, Any]) -> Forecaster:
    """Train with the recipe that is shipped."""
    store, manifest = version(folder, path, schema)
    examples = {split: Examples(manifest.transform, read_split(store, manifest, split)) for split in Split}
    recipe = Recipe(architecture=Tcn())
    seed_everything(recipe.seed)
    scale = examples[Split.TRAIN].label_scale
    model = build_model(recipe.architecture, manifest.transform, label_scale=scale)
    task = task_of(model, manifest.transform, label_scale=scale)
    train(
        model,
        task,
        recipe=recipe,
        training=examples[Split.TRAIN],
        validation=examples[Split.VALIDATION],
        observer=Silent(),
    )
    figures = report(model, task, examples[Split.TEST], classes=(), slices={})["figures"]
    return Forecaster(store=store, manifest=manifest, model=model, figures=figures)


SERIES: dict[str, tuple[Callable[[Path], tuple[Path, dict[str, Any]]], float]] = {
    "monthly employment": (employment, 0.6),
    "daily weather": (weather, 0.98),
    "weekly carbon dioxide": (carbon_dioxide, 0.6),
    "quarterly economy and prices": (economy, 0.7),
}
"""What is forecast, and the error of the median as a share of that of repeating the last season."""


@pytest.fixture(scope="module", params=SERIES)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Forecaster, float]:
    """A forecaster of a real series, and what it has to reach."""
    source, ratio = SERIES[request.param]
    folder = tmp_path_factory.mktemp("series")
    return forecaster(folder, *source(folder)), ratio


def test_a_tcn_is_clearly_better_than_repeating_the_last_season(trained: tuple[Forecaster, float]) -> None:
    model, ratio = trained
    figures = model.figures
    assert figures["mae"] < ratio * figures["naive_mae"]
    assert figures["mae_ratio"] == pytest.approx(figures["mae"] / figures["naive_mae"])
    assert figures["quantile_loss"] < 0.75 * figures["naive_quantile_loss"]
    # Four fifths at best: what is measured came after all that was learnt from.
    assert 0.5 < figures["coverage"] <= 1


def test_the_export_takes_raw_windows_and_answers_as_the_model_does(
    trained: tuple[Forecaster, float], tmp_path: Path
) -> None:
    model, _ = trained
    files = artifact_files(model.model, model.manifest.transform, history=[])
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    loaded, transform = load_artifact(tmp_path)
    session = onnxruntime.InferenceSession(export_onnx(loaded, transform), providers=["CPUExecutionProvider"])
    told = signature(transform)
    (given,), (answered,) = told["inputs"], told["outputs"]
    assert (given["name"], answered["name"]) == (HISTORY, "forecast")
    windows = model.test[HISTORY]
    assert windows.shape[1:] == tuple(given["shape"][1:])
    expected = model.model.predict(windows, verbose=0)
    answers = session.run(["forecast"], {HISTORY: windows})[0]
    assert answers.shape == (len(windows), *answered["shape"][1:])
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    alone = session.run(None, {HISTORY: windows[:1]})[0]
    np.testing.assert_allclose(alone, answers[:1], rtol=0, atol=1e-4 * np.abs(expected).max())
    # Quantiles never cross.
    assert (np.diff(answers, axis=-1) >= 0).all()


def test_fewer_bits_forecast_nearly_as_well(trained: tuple[Forecaster, float]) -> None:
    model, _ = trained
    exported = model.exported
    held_out = read_held_out(model.store, model.manifest)
    assert held_out.metric == "negative_relative_quantile_loss"
    windows = read_split(model.store, model.manifest, Split.TRAIN)[HISTORY]
    calibration = {HISTORY: windows[:: max(1, len(windows) // 256)]}

    def score(data: bytes) -> float:
        onnx.checker.check_model(onnx.load_from_string(data))
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return held_out.score(session.run(None, dict(held_out.records))[0])

    plain = score(exported)
    assert -1 < plain < 0
    for convert in (to_fp16, lambda data: to_int8(data, calibration)):
        smaller = convert(exported)
        assert len(smaller) < len(exported)
        assert score(smaller) > plain - 0.1
