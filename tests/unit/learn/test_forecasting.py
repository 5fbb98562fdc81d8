"""The figures of forecasts are what their definitions say."""

import numpy as np
import pytest
from sklearn.metrics import mean_pinball_loss

from lepton_learn.scores.forecasting import forecast_figures, naive_quantile_loss, quantile_loss
from lepton_learn.scores.report import forecast_report, headline
from lepton_learn.series import Series, seasonal_naive

WEEKS = Series(channels=("y",), season=2, quantiles=(0.1, 0.5, 0.9))
# Rises by one each second row: the seasonal changes are all one.
HISTORY = np.array([[0, 10, 1, 11, 2, 12]], np.float32)[..., np.newaxis]


def test_the_last_season_is_repeated_as_often_as_it_takes() -> None:
    history = np.arange(12, dtype=np.float32).reshape(2, 6)
    repeated = seasonal_naive(history, season=2, horizon=5)
    assert repeated.tolist() == [[4, 5, 4, 5, 4], [10, 11, 10, 11, 10]]


def test_the_quantile_loss_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(20, 4)).astype(np.float32)
    forecasts = random.normal(size=(20, 4, 3)).astype(np.float32)
    levels = (0.05, 0.5, 0.8)
    expected = [
        mean_pinball_loss(truth.ravel(), forecasts[..., place].ravel(), alpha=level)
        for place, level in enumerate(levels)
    ]
    assert quantile_loss(truth, forecasts, levels) == pytest.approx(np.mean(expected), rel=1e-6)


def test_figures_of_a_forecast_that_can_be_checked_by_hand() -> None:
    truth = np.array([[3, 13]], np.float32)
    forecasts = np.array([[[2, 3, 4], [13.5, 15, 16]]], np.float32)
    figures = forecast_figures(HISTORY, truth, forecasts, WEEKS)
    # The median is off by 0 and 2; the repetition, 2 and 12, by 1 and 1; only 3 lies in its interval.
    assert figures == pytest.approx(
        {
            "quantile_loss": (0.1 * 1 + 0 + 0.1 * 1 + 0.9 * 0.5 + 0.5 * 2 + 0.1 * 3) / 6,
            "mae": 1,
            "smape": (0 + 2 * 2 / 28) / 2,
            "coverage": 0.5,
            "naive_quantile_loss": 0.5,
            "naive_mae": 1,
            "mae_ratio": 1,
            "mase": 1,
            "rmsse": np.sqrt(2),
        },
        rel=1e-6,
    )
    assert naive_quantile_loss(HISTORY, truth, WEEKS) == pytest.approx(0.5)


def test_what_has_no_meaning_is_left_out() -> None:
    still = np.ones((1, 6, 1), np.float32)
    figures = forecast_figures(still, np.ones((1, 2), np.float32), np.zeros((1, 2, 3), np.float32), WEEKS)
    assert figures["naive_mae"] == 0
    assert figures.keys().isdisjoint({"mae_ratio", "mase", "rmsse"})


def test_windows_without_seasonal_changes_do_not_count_for_mase() -> None:
    history = np.concatenate([HISTORY, np.ones_like(HISTORY)])
    truth = np.array([[3, 13], [5, 5]], np.float32)
    forecasts = np.repeat(np.array([[[3], [15]], [[0], [0]]], np.float32), 3, axis=2)
    assert forecast_figures(history, truth, forecasts, WEEKS)["mase"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("quantiles", "place"), [((0.1, 0.5, 0.9), 1), ((0.4,), 0), ((0.2, 0.45, 0.7, 0.9), 1)]
)
def test_the_median_is_what_is_nearest_to_it(quantiles: tuple[float, ...], place: int) -> None:
    assert Series(channels=("y",), season=1, quantiles=quantiles).median == place


def test_a_report_tells_how_far_off_each_row_is_and_what_the_quantiles_kept_of_their_word() -> None:
    truth = np.array([[3, 13]], np.float32)
    forecasts = np.array([[[2, 3, 4], [13.5, 15, 16]]], np.float32)
    document = forecast_report(HISTORY, truth, forecasts, np.full(1, 0.3, np.float32), series=WEEKS)
    assert (document["task"], document["records"], document["slices"]) == ("forecast", 1, [])
    figures = forecast_figures(HISTORY, truth, forecasts, WEEKS)
    assert document["figures"] == pytest.approx({"loss": 0.3, **figures})
    assert [*map(pytest.approx, document["steps"])] == [
        {"step": 1, "quantile_loss": (0.1 * 1 + 0 + 0.1 * 1) / 3, "mae": 0, "naive_mae": 1},
        {"step": 2, "quantile_loss": (0.9 * 0.5 + 0.5 * 2 + 0.1 * 3) / 3, "mae": 2, "naive_mae": 1},
    ]
    assert document["quantiles"] == [
        {"quantile": 0.1, "below": 0.5},
        {"quantile": 0.5, "below": 1.0},
        {"quantile": 0.9, "below": 1.0},
    ]
    assert headline(document).keys() == {"loss", *figures} - {"smape", "rmsse"}
