"""Pictures, of everything that can happen to a metric."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from lepton.compression.v1 import compression_pb2
from lepton.job.v1 import job_pb2
from lepton_sdk import plots

NAN, INFINITE = float("nan"), float("inf")


def series(name: str, *values: float) -> job_pb2.MetricSeries:
    points = [job_pb2.MetricPoint(step=step, value=value) for step, value in enumerate(values, start=1)]
    return job_pb2.MetricSeries(name=name, points=points)


METRICS = [
    pytest.param([], id="none"),
    pytest.param([series("loss")], id="no point"),
    pytest.param([series("loss", 0.5)], id="one point"),
    pytest.param([series("loss", 0.5, 0.5, 0.5)], id="a constant"),
    pytest.param([series("loss", NAN)], id="not a number"),
    pytest.param([series("loss", NAN, 0.5, NAN, 0.25)], id="not always a number"),
    pytest.param([series("loss", INFINITE, 0.5, -INFINITE)], id="infinite"),
    pytest.param([series("loss", 1e308, -1e308, 1)], id="huge"),
    pytest.param([series("loss", 9e99, -9e99)], id="hardly drawn"),
    pytest.param([series("loss", 5e-324, 0)], id="tiny"),
    pytest.param([series("loss", 1, 0.5), series("validation_loss", 2)], id="two of one panel"),
    pytest.param([series(f"metric_{n}", *np.sin(np.arange(600.0))) for n in range(4)], id="panels"),
]


def picture(png: bytes) -> Image.Image:
    """The picture, every byte of it read."""
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return image


@pytest.mark.parametrize("metrics", METRICS)
def test_curves_are_a_png(metrics: Sequence[job_pb2.MetricSeries]) -> None:
    with warnings.catch_warnings(record=True) as told:
        image = picture(plots.curves_png(metrics, title="trainingJobs/digits"))
    assert min(image.size) > 100
    assert not told


@pytest.mark.parametrize("metrics", METRICS)
def test_curves_are_drawn_with_letters(metrics: Sequence[job_pb2.MetricSeries]) -> None:
    text = plots.curves_text(metrics)
    assert "\x1b" not in text, "no colour for a log"
    drawable = {each.name for each in metrics if any(abs(point.value) < 1e100 for point in each.points)}
    for name in drawable:
        assert name in text
    assert bool(text) == bool(drawable)


def test_curves_of_a_quantity_share_a_panel() -> None:
    one = picture(plots.curves_png([series("loss", 1, 2), series("validation_loss", 1, 2)]))
    two = picture(plots.curves_png([series("loss", 1, 2), series("accuracy", 1, 2)]))
    assert two.width > 1.5 * one.width


def test_ticks_are_whole_steps() -> None:
    last = plots.curves_text([series("loss", 3, 2, 1)]).splitlines()[-1]
    assert last.split() == ["1", "2", "3"]


@pytest.mark.parametrize(
    "candidates",
    [
        pytest.param([], id="none"),
        pytest.param([compression_pb2.Candidate(name="fp32")], id="nothing measured"),
        pytest.param(
            [compression_pb2.Candidate(name="int8", score=NAN, latency_ms=INFINITE)], id="no numbers"
        ),
        pytest.param(
            [
                compression_pb2.Candidate(
                    name="fp32", size_bytes=9, score=0.9, latency_ms=1, metric="accuracy"
                ),
                compression_pb2.Candidate(name="int8", size_bytes=3, score=-2, latency_ms=1, selected=True),
            ],
            id="two",
        ),
    ],
)
def test_candidates_are_a_png(candidates: Sequence[compression_pb2.Candidate]) -> None:
    picture(plots.candidates_png(candidates))


@pytest.mark.parametrize("count", [0, 1, 12, 13])
def test_images_are_a_png(count: int) -> None:
    images = np.zeros((count, 8, 8, 1), np.uint8)
    picture(plots.images_png(images, [f"{n}" for n in range(count)]))
