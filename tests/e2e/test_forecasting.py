"""Real series from file to forecast: cut, learnt, made small, served, and better than their last season."""

import csv
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lepton_sdk.client import Client
from lepton_sdk.local import LocalCloud

from .test_cli import lepton

pytestmark = pytest.mark.timeout(600)

WINDOW, HORIZON, MONTHS = 24, 6, 120


@pytest.fixture
def employment() -> dict[str, NDArray[np.float32]]:
    """By industry, the people employed in the United States in each month of ten years."""
    found = importlib.util.find_spec("vega_datasets")
    assert found is not None
    assert found.origin is not None
    with (Path(found.origin).parent / "_data/us-employment.csv").open() as file:
        rows = [*csv.DictReader(file)]
    names = [name for name in rows[0] if name not in ("month", "nonfarm_change")]
    return {name: np.array([row[name] for row in rows], np.float32) for name in names}


def lines(employment: dict[str, NDArray[np.float32]]) -> Iterator[str]:
    """As a file."""
    yield "month,industry,people\n"
    for industry, people in employment.items():
        for month, value in enumerate(people.tolist()):
            yield f"{2006 + month // 12}-{1 + month % 12:02}-01,{industry},{value}\n"


async def test_series_are_forecast_from_file_to_answer(
    cloud: LocalCloud, client: Client, employment: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    def run(*words: str) -> str:
        done = lepton(*words, endpoints=cloud.endpoints_file)
        assert done.returncode == 0, done.stderr
        return done.stdout

    file = tmp_path / "employment.csv"
    file.write_text("".join(lines(employment)))
    columns = ("--label", "people", "--time-column", "month", "--key-column", "industry")
    windows = ("--window", str(WINDOW), "--horizon", str(HORIZON))
    pushed = run("dataset", "push", "employment", str(file), *columns, *windows)
    assert "22 series of 2,640 rows; step: 1 month; gaps: 0; rows a season: 1" in pushed
    assert "test        2015-01-01      2015-12-01" in pushed

    refused = lepton("train", "start", "employment", "--family", "mlp", endpoints=cloud.endpoints_file)
    assert refused.returncode == 4
    assert "train a tcn" in refused.stderr

    trained = run("train", "start", "employment", "--family", "tcn")
    assert "validation_mae_ratio" in trained
    run("compress", "start", "employment")
    run("endpoint", "put", "employment", "employment")

    compressed, plain = await client.models.versions("models/employment")
    figures = plain.metrics
    assert 0 < figures["mae"] < 0.6 * figures["naive_mae"]
    assert 0 < figures["quantile_loss"] < 0.6 * figures["naive_quantile_loss"]
    told = run("model", "report", "employment")
    assert told.startswith("models/employment/versions/1: forecast of 'people', measured on the 154 records")
    assert "by row that is forecast" in told
    assert [*compressed.signature.quantiles] == [0.1, 0.5, 0.9]

    # What is served says so too, of the year that nothing was learnt from.
    ends = np.stack([people[-12 - WINDOW :] for people in employment.values()])
    cut = sliding_window_view(ends, WINDOW + HORIZON, axis=1).reshape(-1, WINDOW + HORIZON)
    history, truth = cut[:, :WINDOW], cut[:, WINDOW:]
    inputs = {"history": np.ascontiguousarray(history[..., np.newaxis])}
    forecasts = (await client.inference.predict("employment", inputs)).outputs["forecast"]
    assert forecasts.shape == (22 * (12 - HORIZON + 1), HORIZON, 3)
    assert (np.diff(forecasts, axis=-1) >= 0).all()
    error = float(np.abs(forecasts[..., 1] - truth).mean())
    assert error < 0.6 * float(np.abs(history[:, -1:] - truth).mean())

    newest = json.dumps(employment["retail_trade"][-WINDOW:].tolist())
    document = json.loads(run("-o", "json", "predict", "employment", newest))
    assert np.shape(document["outputs"]["forecast"]) == (1, HORIZON, 3)
    head, *steps = run("predict", "employment", newest).splitlines()[1:]
    assert head.split("  ") == ["RECORD", "STEP", "QUANTILE 0.1", "QUANTILE 0.5", "QUANTILE 0.9"]
    assert len(steps) == HORIZON

    short = lepton("predict", "employment", "[1, 2, 3]", endpoints=cloud.endpoints_file)
    assert short.returncode == 4
    assert str(WINDOW) in short.stderr
