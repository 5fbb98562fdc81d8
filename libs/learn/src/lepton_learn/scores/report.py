"""The evaluation of a model as one JSON document, `evaluation.json` beside a model version.

    format              1: the shape described here.
    task                "classification", "regression" or "forecast".
    split               The split that was measured, "test" or "validation".
    label               Name of the label column.
    records             Records that were measured.
    figures             The headline: `loss` and, for a classification, `accuracy`, `macro_` and `weighted_`
                        `precision`, `recall` and `f1`, `log_loss`, `brier_score`, `calibration_error`, of six
                        classes and more `top5_accuracy`, of recommendations `recall_at_10` and
                        `recall_at_50`, of two `selection_rate`, `true_positive_rate`,
                        `false_positive_rate`, `roc_auc` and `average_precision`; for a regression `mse`,
                        `rmse`, `mae`, `r2` and `bias`, the mean residual; for forecasts those of
                        `lepton_learn.scores.forecasting`.
    classes             By class: `name`, `records`, `predicted`, `precision`, `recall`, `f1`.
    confusion           Records by true class (rows) and predicted one (columns); null of more than 200.
    mistakes            The most frequent ones: `true` and `predicted` class, `records`.
    calibration         By bin: `above`, `up_to`, `records`, `confidence`, `accuracy`.
    binary              Of two classes: `positive`, the second class, whose probability is looked at; `roc`, a
                        list of `threshold` (null for one that nothing reaches), `true_positive_rate`, or
                        recall, `false_positive_rate` and `precision`; and under `thresholds` the points of
                        the best `f1` and the best `youden` index. Null where there is one class alone.
    residuals           Of a regression, predicted less true: `quantiles`, a list of `share` and `value`.
    sample              Of a regression: `truth` and `predictions` of at most 1000 records.
    steps               Of forecasts, by row that is forecast: `step`, from 1, `quantile_loss`, of the median
                        `mae`, and `naive_mae`, of the repeated last season.
    quantiles           Of forecasts, by quantile: `quantile`, and `below`, the share of what came that was no
                        more than it was said to be.
    slices              By slice column: `column`; `slices`, a list of `value`, `records`, `small` and
                        `figures`; `left_out`, how many values with fewer records are not told; `gaps` by
                        name, measured without small slices.

Each task has its own of these, and not the others'. Null stands for what cannot be known:
the recall of a class without records, a rate of nothing, a figure that is no number.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_learn.scores.calibration import brier_score, reliability
from lepton_learn.scores.classification import (
    accuracy,
    class_scores,
    confusion_matrix,
    confusions,
    log_loss,
    top_accuracy,
)
from lepton_learn.scores.forecasting import forecast_figures, quantile_loss
from lepton_learn.scores.ranking import Ranking, drawn, rank
from lepton_learn.scores.regression import (
    QUANTILES,
    regression_figures,
    residual_quantiles,
    residuals,
    sample,
)
from lepton_learn.scores.slices import binary_gaps, binary_rates, difference, slices_of
from lepton_learn.series import Series, seasonal_naive

FORMAT = 1
"""Of the documents that this release writes."""

Document = dict[str, Any]

_MOST_CLASSES = 200
_MOST_MISTAKES = 20
_MOST_POINTS = 300
_MOST_SAMPLES = 1000
_TOP = 5
_DETAILS = frozenset(
    {
        *("log_loss", "rmse", "bias", "selection_rate", "true_positive_rate", "false_positive_rate"),
        *("smape", "rmsse"),
        *("macro_precision", "macro_recall", "weighted_precision", "weighted_recall", "weighted_f1"),
    }
)
"""Figures that only the document tells: others say nearly the same."""

Figures = dict[str, float | None]


def classification_report(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    losses: NDArray[np.float32],
    *,
    classes: tuple[str, ...],
    slices: Mapping[str, NDArray[Any]],
) -> Document:
    """Judge a classifier.

    Args:
        labels: [n], at least one.
        probabilities: [n, classes].
        losses: [n].
        classes: their names.
        slices: the raw columns to tell records apart by, [n] each.

    Returns:
        `task`, `records` and all that the module names for a classification.
    """
    count, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    scores = class_scores(labels, predicted, classes=count)
    bins = reliability(labels, probabilities)
    ranking = rank(labels == 1, probabilities[:, 1]) if count == 2 else None
    figures: Figures = {
        "loss": _mean(losses),
        "accuracy": accuracy(labels, probabilities),
        **scores.averages(),
        "log_loss": log_loss(labels, probabilities),
        "brier_score": brier_score(labels, probabilities),
        "calibration_error": bins.error,
    }
    if count > _TOP:
        figures["top5_accuracy"] = top_accuracy(labels, probabilities, most=_TOP)
    if count == 2:
        figures |= binary_rates(labels == 1, predicted == 1)
    if ranking is not None:
        figures |= {"roc_auc": ranking.area, "average_precision": ranking.average_precision}
    document: Document = {
        "task": "classification",
        "records": len(labels),
        "figures": figures,
        "classes": [
            {
                "name": name,
                "records": records,
                "predicted": told,
                "precision": precision if records or told else None,
                "recall": recall if records else None,
                "f1": f1 if records or told else None,
            }
            for name, records, told, precision, recall, f1 in zip(
                classes,
                scores.records.tolist(),
                scores.predicted.tolist(),
                scores.precision.tolist(),
                scores.recall.tolist(),
                scores.f1.tolist(),
                strict=True,
            )
        ],
        "confusion": (
            confusion_matrix(labels, predicted, classes=count).tolist() if count <= _MOST_CLASSES else None
        ),
        "mistakes": _mistakes(labels, predicted, classes),
        "calibration": [
            {"above": above, "up_to": up_to, "records": records, "confidence": confidence, "accuracy": right}
            for above, up_to, records, confidence, right in zip(
                bins.edges[:-1].tolist(),
                bins.edges[1:].tolist(),
                bins.records.tolist(),
                bins.confidence.tolist(),
                bins.accuracy.tolist(),
                strict=True,
            )
        ],
    }
    if count == 2:
        document["binary"] = _binary(ranking, classes[1])

    def measure(places: NDArray[np.int64]) -> Figures:
        own, told = labels[places], predicted[places]
        found: Figures = {
            "loss": _mean(losses[places]),
            "accuracy": float((own == told).mean()),
            "macro_f1": class_scores(own, told, classes=count).averages()["macro_f1"],
        }
        if count == 2:
            part = rank(own == 1, probabilities[places, 1])
            found |= {"roc_auc": None if part is None else part.area, **binary_rates(own == 1, told == 1)}
        return found

    document["slices"] = _slices(slices, measure, gap="accuracy", binary=count == 2)
    return _finite(document)


def regression_report(
    truth: NDArray[np.float64],
    predictions: NDArray[np.float32],
    losses: NDArray[np.float32],
    *,
    slices: Mapping[str, NDArray[Any]],
) -> Document:
    """Judge predicted quantities.

    Args:
        truth: [n], at least one.
        predictions: [n], in the same unit.
        losses: [n].
        slices: the raw columns to tell records apart by, [n] each.

    Returns:
        `task`, `records` and all that the module names for a regression.
    """
    errors = residuals(truth, predictions)
    chosen = sample(len(truth), most=_MOST_SAMPLES)

    def measure(places: NDArray[np.int64]) -> Figures:
        figures = regression_figures(truth[places], predictions[places])
        return {
            "loss": _mean(losses[places]),
            **figures,
            "rmse": math.sqrt(figures["mse"]),
            "bias": _mean(errors[places]),
        }

    document: Document = {
        "task": "regression",
        "records": len(truth),
        "figures": measure(np.arange(len(truth))),
        "residuals": {
            "quantiles": [
                {"share": share, "value": value}
                for share, value in zip(QUANTILES, residual_quantiles(errors).tolist(), strict=True)
            ]
        },
        "sample": {"truth": truth[chosen].tolist(), "predictions": predictions[chosen].tolist()},
        "slices": _slices(slices, measure, gap="mae", binary=False),
    }
    return _finite(document)


def forecast_report(
    history: NDArray[np.float32],
    truth: NDArray[np.float32],
    forecasts: NDArray[np.float32],
    losses: NDArray[np.float32],
    *,
    series: Series,
) -> Document:
    """Judge forecasts.

    Args:
        history: raw windows [n, window, channels], at least one.
        truth: what came, [n, horizon].
        forecasts: [n, horizon, quantiles].
        losses: [n].
        series: what they are cut from.

    Returns:
        `task`, `records` and all that the module names for forecasts.
    """
    horizon = truth.shape[1]
    naive = np.abs(truth - seasonal_naive(history[:, :, 0], season=series.season, horizon=horizon))
    median = np.abs(truth - forecasts[..., series.median])
    below = (truth[..., np.newaxis] <= forecasts).mean(axis=(0, 1))
    document: Document = {
        "task": "forecast",
        "records": len(truth),
        "figures": {"loss": _mean(losses), **forecast_figures(history, truth, forecasts, series)},
        "steps": [
            {
                "step": 1 + place,
                "quantile_loss": quantile_loss(truth[:, place], forecasts[:, place], series.quantiles),
                "mae": _mean(median[:, place]),
                "naive_mae": _mean(naive[:, place]),
            }
            for place in range(horizon)
        ],
        "quantiles": [
            {"quantile": quantile, "below": share}
            for quantile, share in zip(series.quantiles, below.tolist(), strict=True)
        ],
        "slices": [],
    }
    return _finite(document)


def headline(document: Document) -> dict[str, float]:
    """The figures of a document that a model version tells, by name.

    The headline without its details; of up to 200 classes `accuracy/<class>`, the share of the class's
    records that were recognised; and the gaps between slices as `<gap>/<column>`. What is null is left out.
    """
    figures: Figures = {name: each for name, each in document["figures"].items() if name not in _DETAILS}
    classes = document.get("classes", [])
    if len(classes) <= _MOST_CLASSES:
        figures |= {f"accuracy/{each['name']}": each["recall"] for each in classes}
    for column in document["slices"]:
        figures |= {f"{name}/{column['column']}": gap for name, gap in column["gaps"].items()}
    return {name: value for name, value in figures.items() if value is not None}


def _finite(document: Document) -> Document:
    """A document without numbers that JSON does not have: null stands for them."""
    return {name: _finite_part(value) for name, value in document.items()}


def _finite_part(part: Any) -> Any:
    if isinstance(part, dict):
        return _finite(part)
    if isinstance(part, list):
        return [_finite_part(value) for value in part]
    return None if isinstance(part, float) and not math.isfinite(part) else part


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean(dtype=np.float64))


def _mistakes(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: tuple[str, ...]
) -> list[Document]:
    right, told, records = confusions(labels, predicted, classes=len(classes))
    wrong = np.flatnonzero(right != told)
    most = wrong[np.argsort(-records[wrong], kind="stable")][:_MOST_MISTAKES]
    return [
        {"true": classes[right[place]], "predicted": classes[told[place]], "records": int(records[place])}
        for place in most
    ]


def _binary(ranking: Ranking | None, positive: str) -> Document | None:
    if ranking is None:
        return None
    rates = {
        "threshold": ranking.thresholds,
        "true_positive_rate": ranking.recall,
        "false_positive_rate": ranking.false_positive_rate,
        "precision": ranking.precision,
    }

    def point(place: int) -> dict[str, float]:
        return {name: float(values[place]) for name, values in rates.items()}

    best = ranking.best_f1
    return {
        "positive": positive,
        "roc": [point(place) for place in drawn(ranking, most=_MOST_POINTS).tolist()],
        "thresholds": {
            "f1": {**point(best), "f1": float(ranking.f1[best])},
            "youden": point(ranking.best_youden),
        },
    }


def _slices(
    columns: Mapping[str, NDArray[Any]],
    measure: Callable[[NDArray[np.int64]], Figures],
    *,
    gap: str,
    binary: bool,
) -> list[Document]:
    told = []
    for name, column in columns.items():
        slices, left_out = slices_of(column)
        figures = [measure(each.places) for each in slices]
        large = [own for each, own in zip(slices, figures, strict=True) if not each.is_small]
        gaps = {f"{gap}_difference": difference(large, gap)}
        told.append(
            {
                "column": name,
                "slices": [
                    {
                        "value": each.value,
                        "records": len(each.places),
                        "small": each.is_small,
                        "figures": own,
                    }
                    for each, own in zip(slices, figures, strict=True)
                ],
                "left_out": left_out,
                "gaps": gaps | binary_gaps(large) if binary else gaps,
            }
        )
    return told
