"""Parts of real records: who is in which, and how far they are apart."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.datasets import load_breast_cancer
from sklearn.naive_bayes import GaussianNB

from lepton_learn.scores.report import classification_report, headline, regression_report
from lepton_learn.scores.slices import binary_gaps, binary_rates, difference, slices_of


@pytest.fixture(scope="module")
def biopsies() -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Findings of 285 biopsies, what a simple model says of them, and the radius of the cells."""
    records, labels = load_breast_cancer(return_X_y=True)
    model = GaussianNB().fit(records[:284, 4:6], labels[:284])
    probabilities = model.predict_proba(records[284:, 4:6]).astype(np.float32)
    return labels[284:].astype(np.int64), probabilities, records[284:, 0]


def test_values_are_slices_in_their_order() -> None:
    column = np.array(["b", "a", "b", "ä", "b"], object)
    slices, left_out = slices_of(column)
    assert [(each.value, each.places.tolist()) for each in slices] == [
        ("a", [1]),
        ("b", [0, 2, 4]),
        ("ä", [3]),
    ]
    assert left_out == 0


def test_slices_with_few_records_are_left_out_first() -> None:
    slices, left_out = slices_of(np.array([3, 1, 2, 2, 3, 3, 7]), most=2)
    assert [each.value for each in slices] == ["2", "3"]
    assert left_out == 2


def test_many_numbers_are_told_by_ranges_that_hold_each_record_once() -> None:
    ages = np.random.default_rng(0).integers(18, 91, 1000)
    ages[:300] = 40
    slices, left_out = slices_of(ages)
    assert left_out == 0
    assert len(slices) <= 10
    assert sorted(np.concatenate([each.places for each in slices]).tolist()) == list(range(1000))
    for each in slices:
        lower, _, upper = each.value.partition(" to ")
        assert (ages[each.places].min(), ages[each.places].max()) == (int(lower), int(upper or lower))


def test_rates_are_those_of_a_confusion_matrix(biopsies: Any) -> None:
    labels, probabilities, _ = biopsies
    told = probabilities.argmax(axis=1)
    (true_negative, false_positive), (false_negative, true_positive) = metrics.confusion_matrix(labels, told)
    assert binary_rates(labels == 1, told == 1) == pytest.approx(
        {
            "selection_rate": (true_positive + false_positive) / len(labels),
            "true_positive_rate": true_positive / (true_positive + false_negative),
            "false_positive_rate": false_positive / (false_positive + true_negative),
        }
    )


def test_a_rate_of_nothing_is_null() -> None:
    none = np.zeros(3, bool)
    assert binary_rates(none, none) == {
        "selection_rate": 0,
        "true_positive_rate": None,
        "false_positive_rate": 0,
    }


def test_gaps_are_the_largest_differences() -> None:
    slices: list[dict[str, float | None]] = [
        {"selection_rate": 0.5, "true_positive_rate": 0.9, "false_positive_rate": 0.2},
        {"selection_rate": 0.2, "true_positive_rate": None, "false_positive_rate": 0.1},
        {"selection_rate": 0.4, "true_positive_rate": 0.5, "false_positive_rate": 0.3},
    ]
    gaps = binary_gaps(slices)
    assert gaps["demographic_parity_difference"] == pytest.approx(0.3)
    assert gaps["equalized_odds_difference"] == pytest.approx(0.4)
    assert difference(slices[:2], "true_positive_rate") is None
    assert binary_gaps(slices[:1]) == {
        "demographic_parity_difference": None,
        "equalized_odds_difference": None,
    }


def test_each_slice_is_measured_on_its_own(biopsies: Any) -> None:
    labels, probabilities, radius = biopsies
    size = np.where(radius < 12, "small", "large").astype(object)
    # Too few to say anything, and right or wrong altogether.
    size[:5] = "unknown"
    document = classification_report(
        labels,
        probabilities,
        np.zeros(len(labels), np.float32),
        classes=("bad", "good"),
        slices={"size": size},
    )
    (told,) = document["slices"]
    assert [each["value"] for each in told["slices"]] == ["large", "small", "unknown"]
    assert [each["small"] for each in told["slices"]] == [False, False, True]
    predicted = probabilities.argmax(axis=1)
    rates = []
    for each in told["slices"]:
        own = size == each["value"]
        assert each["records"] == own.sum()
        assert each["figures"]["accuracy"] == pytest.approx(
            metrics.accuracy_score(labels[own], predicted[own])
        )
        rates.append(predicted[own].mean())
        assert each["figures"]["selection_rate"] == pytest.approx(rates[-1])
    large = size == "large"
    assert told["slices"][0]["figures"]["roc_auc"] == pytest.approx(
        metrics.roc_auc_score(labels[large], probabilities[large, 1])
    )
    assert told["gaps"]["demographic_parity_difference"] == pytest.approx(abs(rates[0] - rates[1]))
    assert headline(document)["demographic_parity_difference/size"] == pytest.approx(abs(rates[0] - rates[1]))


def test_slices_of_a_regression_have_its_figures() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=200)
    group = np.arange(200) % 2
    predictions = (truth + np.where(group == 1, 2.0, 0.5)).astype(np.float32)
    document = regression_report(truth, predictions, np.zeros(200, np.float32), slices={"group": group})
    (told,) = document["slices"]
    assert [each["figures"]["mae"] for each in told["slices"]] == pytest.approx([0.5, 2.0])
    assert [each["figures"]["bias"] for each in told["slices"]] == pytest.approx([0.5, 2.0])
    assert told["gaps"] == {"mae_difference": pytest.approx(1.5)}
