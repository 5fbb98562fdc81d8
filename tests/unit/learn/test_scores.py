"""Figures are scikit-learn's, on answers of simple models to real records."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import calibration as sklearn_calibration
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB

from lepton_learn.scores.calibration import brier_score, reliability
from lepton_learn.scores.classification import (
    accuracy,
    class_scores,
    confusion_matrix,
    log_loss,
    top_accuracy,
)
from lepton_learn.scores.ranking import drawn, rank
from lepton_learn.scores.regression import QUANTILES, regression_figures, residual_quantiles, residuals
from lepton_learn.scores.report import classification_report, headline, regression_report


@dataclass(frozen=True)
class Answers:
    """What a classifier said of records that it has not learnt from."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def predicted(self) -> NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def classes(self) -> int:
        return len(self.probabilities[0])

    def report(self, **slices: NDArray[Any]) -> dict[str, Any]:
        losses = np.zeros(len(self.labels), np.float32)
        names = tuple(f"class {place}" for place in range(self.classes))
        return classification_report(self.labels, self.probabilities, losses, classes=names, slices=slices)


def answers_of(load: Callable[..., Any], columns: int) -> Answers:
    """Naive Bayes on a few columns, so that it is wrong at times and too sure."""
    records, labels = load(return_X_y=True)
    half = len(labels) // 2
    model = GaussianNB(var_smoothing=0.01).fit(records[:half, :columns], labels[:half])
    # Not so sure that different classes have no probability alike.
    logits = model.predict_joint_log_proba(records[half:, :columns]) / 8
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    return Answers(labels[half:].astype(np.int64), probabilities.astype(np.float32))


TEN, TWO = answers_of(load_digits, 40), answers_of(load_breast_cancer, 4)
# The models have eleven and three places, and of the last no record is there.
EMPTY = Answers(TEN.labels, np.pad(TEN.probabilities, ((0, 0), (0, 1))))
# No record is of class 3, and some are taken for it.
MISSING = Answers(TEN.labels[TEN.labels != 3], TEN.probabilities[TEN.labels != 3])

EACH = pytest.mark.parametrize(
    "answers",
    [
        pytest.param(TEN, id="ten classes"),
        pytest.param(TWO, id="two classes"),
        pytest.param(EMPTY, id="a class that never occurs"),
        pytest.param(MISSING, id="a class that is only told"),
    ],
)


@EACH
def test_scores_by_class_are_those_of_scikit_learn(answers: Answers) -> None:
    scores = class_scores(answers.labels, answers.predicted, classes=answers.classes)
    expected = metrics.precision_recall_fscore_support(
        answers.labels, answers.predicted, labels=range(answers.classes), zero_division=0
    )
    for own, other in zip(
        (scores.precision, scores.recall, scores.f1, scores.records), expected, strict=True
    ):
        np.testing.assert_allclose(own, other)
    for kind in ("macro", "weighted"):
        *values, _ = metrics.precision_recall_fscore_support(
            answers.labels,
            answers.predicted,
            labels=np.unique(answers.labels),
            average=kind,
            zero_division=0,
        )
        averages = scores.averages()
        names = ("precision", "recall", "f1")
        assert [averages[f"{kind}_{name}"] for name in names] == pytest.approx(values)


@EACH
def test_confusion_is_that_of_scikit_learn(answers: Answers) -> None:
    np.testing.assert_array_equal(
        confusion_matrix(answers.labels, answers.predicted, classes=answers.classes),
        metrics.confusion_matrix(answers.labels, answers.predicted, labels=range(answers.classes)),
    )


@EACH
def test_scores_over_all_are_those_of_scikit_learn(answers: Answers) -> None:
    every = range(answers.classes)
    given = (answers.labels, answers.probabilities)
    assert accuracy(*given) == pytest.approx(metrics.accuracy_score(answers.labels, answers.predicted))
    sums = answers.probabilities.astype(np.float64)
    exact = sums / sums.sum(axis=1, keepdims=True)
    assert log_loss(*given) == pytest.approx(
        metrics.log_loss(answers.labels, answers.probabilities, labels=every), rel=1e-4
    )
    assert brier_score(*given) == pytest.approx(
        metrics.brier_score_loss(
            answers.labels, exact[:, 1] if answers.classes == 2 else exact, labels=list(every)
        ),
        abs=1e-6,
    )


@pytest.mark.parametrize("most", [1, 3, 5])
def test_top_accuracy_is_that_of_scikit_learn(most: int) -> None:
    expected = metrics.top_k_accuracy_score(TEN.labels, TEN.probabilities, k=most, labels=range(10))
    assert top_accuracy(TEN.labels, TEN.probabilities, most=most) == pytest.approx(expected)


def test_of_equal_probabilities_the_first_goes_before() -> None:
    even = np.full((3, 3), 1 / 3, np.float32)
    labels = np.arange(3)
    assert [top_accuracy(labels, even, most=most) for most in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert top_accuracy(labels, even, most=1) == pytest.approx(accuracy(labels, even))


@EACH
def test_reliability_is_that_of_scikit_learn(answers: Answers) -> None:
    bins = reliability(answers.labels, answers.probabilities, bins=15)
    sure = answers.probabilities.max(axis=1).astype(np.float64)
    right = answers.predicted == answers.labels
    expected = sklearn_calibration.calibration_curve(right, np.minimum(sure, 1), n_bins=15)
    some = bins.records > 0
    np.testing.assert_allclose(bins.accuracy[some], expected[0])
    np.testing.assert_allclose(bins.confidence[some], expected[1])
    assert bins.records.sum() == len(right)
    gaps = np.abs(expected[0] - expected[1])
    assert bins.error == pytest.approx(float((gaps * bins.records[some]).sum() / len(right)))
    assert bins.error > 0.01


def test_what_always_comes_true_as_it_was_told_is_calibrated() -> None:
    labels = np.array([0, 0, 0, 1])
    probabilities = np.tile(np.array([0.75, 0.25], np.float32), (4, 1))
    assert reliability(labels, probabilities).error == pytest.approx(0)


@pytest.mark.parametrize("decimals", [7, 1], ids=["few ties", "many ties"])
def test_curves_are_those_of_scikit_learn(decimals: int) -> None:
    positive, sure = TWO.labels == 1, TWO.probabilities[:, 1].round(decimals)
    ranking = rank(positive, sure)
    assert ranking is not None
    false, true, thresholds = metrics.roc_curve(positive, sure, drop_intermediate=False)
    np.testing.assert_allclose(ranking.false_positive_rate, false)
    np.testing.assert_allclose(ranking.recall, true)
    np.testing.assert_allclose(ranking.thresholds, thresholds)
    assert ranking.area == pytest.approx(metrics.roc_auc_score(positive, sure))
    assert ranking.average_precision == pytest.approx(metrics.average_precision_score(positive, sure))
    precision, recall, _ = metrics.precision_recall_curve(positive, sure)
    np.testing.assert_allclose(ranking.precision, precision[::-1])
    np.testing.assert_allclose(ranking.recall, recall[::-1])


def test_the_best_thresholds_are_the_best_of_all() -> None:
    positive, sure = TWO.labels == 1, TWO.probabilities[:, 1]
    ranking = rank(positive, sure)
    assert ranking is not None
    scores = [metrics.f1_score(positive, sure >= threshold) for threshold in np.unique(sure)]
    told = sure >= ranking.thresholds[ranking.best_f1]
    assert metrics.f1_score(positive, told) == pytest.approx(max(scores))
    false, true, _ = metrics.roc_curve(positive, sure)
    told = sure >= ranking.thresholds[ranking.best_youden]
    assert told[positive].mean() - told[~positive].mean() == pytest.approx((true - false).max())


def test_a_drawn_curve_has_the_area_of_the_whole() -> None:
    random = np.random.default_rng(0)
    positive = random.random(20_000) < 0.3
    ranking = rank(positive, positive + random.normal(size=20_000))
    assert ranking is not None
    few = drawn(ranking, most=100)
    assert len(few) <= 100
    assert (few[0], few[-1]) == (0, len(ranking.thresholds) - 1)
    assert {ranking.best_f1, ranking.best_youden} <= {*few.tolist()}
    area = metrics.auc(ranking.false_positive_rate[few], ranking.recall[few])
    assert area == pytest.approx(ranking.area, abs=1e-3)


@pytest.mark.parametrize("positive", [True, False])
def test_one_class_alone_cannot_be_ranked(positive: bool) -> None:
    assert rank(np.full(3, positive), np.array([0.1, 0.5, 0.9])) is None


@pytest.fixture(scope="module")
def courses() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The course of the disease of 221 patients, and what a linear model predicts of it."""
    records, truth = load_diabetes(return_X_y=True)
    return truth[221:], LinearRegression().fit(records[:221], truth[:221]).predict(records[221:]).astype("f")


def test_regression_figures_are_those_of_scikit_learn(courses: Any) -> None:
    truth, predictions = courses
    figures = regression_figures(truth, predictions)
    assert figures["mse"] == pytest.approx(metrics.mean_squared_error(truth, predictions))
    assert figures["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predictions))
    assert figures["r2"] == pytest.approx(metrics.r2_score(truth, predictions))


def test_nothing_is_explained_where_nothing_varies() -> None:
    assert regression_figures(np.ones(3), np.zeros(3, np.float32))["r2"] == 0.0


def test_quantiles_are_above_their_share_of_the_residuals(courses: Any) -> None:
    errors = residuals(*courses)
    shares = [(errors <= quantile).mean() for quantile in residual_quantiles(errors)]
    assert shares == pytest.approx(QUANTILES, abs=0.01)


def test_the_document_of_a_classification_tells_the_same() -> None:
    document = TEN.report()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["figures"]["accuracy"] == accuracy(TEN.labels, TEN.probabilities)
    assert document["figures"]["top5_accuracy"] == top_accuracy(TEN.labels, TEN.probabilities, most=5)
    assert np.sum(document["confusion"]) == document["records"] == len(TEN.labels)
    first = document["mistakes"][0]
    right, told = (int(first[name].removeprefix("class ")) for name in ("true", "predicted"))
    off_diagonal = np.array(document["confusion"])
    np.fill_diagonal(off_diagonal, 0)
    assert first["records"] == off_diagonal[right, told] == off_diagonal.max()
    assert sum(each["records"] for each in document["calibration"]) == len(TEN.labels)
    assert "binary" not in document


def test_the_document_of_two_classes_has_their_curves() -> None:
    document = TWO.report()
    assert document["binary"]["positive"] == "class 1"
    assert document["figures"]["roc_auc"] == metrics.roc_auc_score(TWO.labels, TWO.probabilities[:, 1])
    points = document["binary"]["roc"]
    area = metrics.auc(
        [point["false_positive_rate"] for point in points], [point["true_positive_rate"] for point in points]
    )
    assert area == pytest.approx(document["figures"]["roc_auc"])
    assert points[0]["threshold"] is None
    best = document["binary"]["thresholds"]["f1"]
    told = TWO.probabilities[:, 1] >= best["threshold"]
    assert metrics.f1_score(TWO.labels, told) == pytest.approx(best["f1"])
    assert "top5_accuracy" not in document["figures"]
    good = document["classes"][1]
    assert document["figures"]["selection_rate"] == good["predicted"] / document["records"]
    assert document["figures"]["true_positive_rate"] == good["recall"]
    assert document["figures"]["false_positive_rate"] == pytest.approx(1 - document["classes"][0]["recall"])


def test_what_cannot_be_known_is_null() -> None:
    never, told = EMPTY.report()["classes"][10], MISSING.report()["classes"][3]
    assert (never["precision"], never["recall"], never["f1"]) == (None, None, None)
    assert (told["precision"], told["recall"], told["f1"]) == (0, None, 0)
    one = Answers(np.ones(5, np.int64), TWO.probabilities[:5]).report()
    assert one["binary"] is None
    assert "roc_auc" not in one["figures"]


def test_answers_that_are_no_numbers_are_null() -> None:
    document = regression_report(
        np.ones(2), np.array([np.inf, 1], np.float32), np.array([np.inf, 0], np.float32), slices={}
    )
    assert document["figures"]["mse"] is None
    assert document["sample"]["predictions"] == [None, 1]
    assert "mse" not in headline(document)


@pytest.mark.parametrize("classes", [200, 201])
def test_a_version_can_hold_the_figures(classes: int) -> None:
    random = np.random.default_rng(0)
    answers = Answers(
        np.arange(2 * classes) % classes, random.dirichlet(np.ones(classes), 2 * classes).astype(np.float32)
    )
    columns = {f"column {place}": np.arange(2 * classes) % 3 for place in range(8)}
    document = answers.report(**columns)
    assert (document["confusion"] is None) == (classes > 200)
    assert len(headline(document)) <= 250


def test_the_document_of_a_regression_has_a_sample(courses: Any) -> None:
    truth, predictions = (np.tile(values, 10) for values in courses)
    document = regression_report(truth, predictions, np.zeros(len(truth), np.float32), slices={})
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["figures"]["rmse"] ** 2 == pytest.approx(metrics.mean_squared_error(truth, predictions))
    assert document["figures"]["bias"] == pytest.approx((predictions - truth).mean())
    pairs = {*zip(truth.tolist(), predictions.tolist(), strict=True)}
    sample = [*zip(document["sample"]["truth"], document["sample"]["predictions"], strict=True)]
    assert len(sample) == 1000
    assert {*sample} <= pairs
