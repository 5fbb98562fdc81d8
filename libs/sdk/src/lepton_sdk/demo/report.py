"""What came out of the story, as a page to look at: `report.html`, with its pictures inside."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lepton.model.v1 import model_pb2
from lepton_sdk import plots
from lepton_sdk.demo.story import Story

SHOWN_IMAGES = 24

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.lead { margin-top: .3rem; opacity: .75; }
table { border-collapse: collapse; margin: .8rem 0; } th { text-align: left; font-weight: 600; }
td, th { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; background: white; border-radius: 6px; } code { font-size: .9em; }
"""


def write(story: Story, folder: Path) -> None:
    """Write `report.html` and `report.json` below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(story.figures(), indent=2) + "\n")
    (folder / "report.html").write_text(page(story), encoding="utf-8")


def summary(story: Story) -> list[list[object]]:
    """The rows of the one table: what, before and after compression."""
    plain, chosen = story.plain, story.chosen
    assert story.outcome.learning_run is not None
    return [
        ["accuracy on held-out images", f"{plain.score:.4f}", f"{chosen.score:.4f}"],
        ["accuracy as served over gRPC", "", f"{story.served_accuracy:.4f}"],
        ["bytes", f"{plain.size_bytes:,}", f"{chosen.size_bytes:,}"],
        [
            "milliseconds for one record",
            f"{plain.latency_ms:.3f}",
            f"{chosen.latency_ms:.3f}",
        ],
        [
            "milliseconds for 32 records",
            f"{plain.batch_latency_ms:.3f}",
            f"{chosen.batch_latency_ms:.3f}",
        ],
        ["requests a second over gRPC", "", f"{story.rate.requests_per_second:,.0f}"],
        [
            "request p50 / p99, ms",
            "",
            f"{story.rate.p50_ms:.1f} / {story.rate.p99_ms:.1f}",
        ],
        [
            "agent's mean reward (of 500)",
            "",
            f"{story.outcome.learning_run.mean_reward:.1f}",
        ],
        ["seconds in all", "", f"{story.seconds:.0f}"],
    ]


def page(story: Story) -> str:
    """The whole page."""
    compression = story.outcome.compression_job
    run, version = story.outcome.learning_run, story.outcome.dataset_version
    assert compression is not None and run is not None and version is not None
    predicted = story.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != story.images.test_labels)
    right = np.flatnonzero(predicted == story.images.test_labels)
    shown = np.concatenate([wrong, right])[:SHOWN_IMAGES]
    captions = [_caption(story, place, int(predicted[place])) for place in shown]
    counts = version.counts
    parts = [
        f"<h1>Lepton: {html.escape(story.images.name)}</h1>",
        f"<p class=lead>{html.escape(story.images.description)}; and an agent that balances a pole.</p>",
        _table(
            ["", "as trained (fp32)", f"as served ({story.chosen.name})"],
            summary(story),
        ),
        "<h2>Data</h2>",
        (
            f"<p>{counts.train:,} training, {counts.validation:,} validation and {counts.test:,} test "
            f"records, {version.rejected:,} rejected; digest <code>{version.digest[:16]}</code>.</p>"
        ),
        "<h2>Training</h2>",
        _image(story.pictures["plots/learning_curves.png"], "learning curves"),
        _image(story.pictures["plots/confusion.png"], "confusion of the trained model"),
        _image(story.pictures["plots/calibration.png"], "calibration of the trained model"),
        "<h2>Compression</h2>",
        _image(plots.candidates_png(compression.candidates), "candidates"),
        _table(
            ["candidate", "bytes", "score", "ms/1", "ms/32", "difference to Keras", ""],
            [
                [
                    each.name,
                    f"{each.size_bytes:,}",
                    f"{each.score:.4f}",
                    f"{each.latency_ms:.3f}",
                    f"{each.batch_latency_ms:.3f}",
                    f"{each.max_difference:.1e}",
                    "selected" if each.selected else each.rejection,
                ]
                for each in compression.candidates
            ],
        ),
        "<h2>Predictions of the endpoint</h2>",
        (
            f"<p>{len(right):,} of {len(predicted):,} held-out images right. The mistakes come first, as "
            "predicted (true).</p>"
        ),
        _image(plots.images_png(story.images.test_images[shown], captions), "predictions"),
        "<h2>The agent</h2>",
        _image(plots.curves_png(run.status.metrics), "rewards"),
        "<h2>Lineage of the served model</h2>",
        _table(["what", "name", "sha256"], [_lineage_row(node) for node in story.lineage]),
    ]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'><title>Lepton demo</title>"
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _caption(story: Story, place: int, predicted: int) -> str:
    name, true = (
        story.images.classes[predicted],
        story.images.classes[story.images.test_labels[place]],
    )
    return name if name == true else f"{name} ({true})"


def _lineage_row(node: model_pb2.LineageNode) -> list[object]:
    kind = model_pb2.LineageKind.Name(node.kind).removeprefix("LINEAGE_KIND_").replace("_", " ").lower()
    return [kind, node.name, node.digest[:16]]


def _image(png: bytes, alternative: str) -> str:
    return f"<p><img alt='{alternative}' src='data:image/png;base64,{base64.b64encode(png).decode()}'></p>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td{_kind(value)}>{html.escape(str(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _kind(value: object) -> str:
    numeric = str(value)[:1].isdigit()
    return " class=number" if numeric else ""
