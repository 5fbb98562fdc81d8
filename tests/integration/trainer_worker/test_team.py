"""Training workers that train together: the same curve as one alone, and all of them start again or none."""

import json
import random
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from lepton_common.jobs import files
from lepton_learn.schema import Batch

from .conftest import PATIENCE_SECONDS, RESTART, Workplace, digits

pytestmark = pytest.mark.timeout(4 * PATIENCE_SECONDS)

STEADY = {
    "architecture": {"family": "cnn", "filters": [8], "dense_units": 16, "dropout": 0.0},
    "optimizer": {"clip_norm": 1.0},
    "max_epochs": 6,
    "convergence": {"patience": 0},
    "seed": 7,
}
"""With batch normalisation and clipping, which must not know how many workers there are."""
LONG = {**STEADY, "architecture": {"family": "cnn", "filters": [4], "dense_units": 8}, "max_epochs": 40}
"""With dropout, whose generators are part of the state."""

PRIVATE = {
    "architecture": {"family": "mlp", "hidden_units": [16], "dropout": 0.2},
    "max_epochs": 40,
    "convergence": {"patience": 0},
    "privacy": {"noise_multiplier": 1.0, "clip_norm": 1.0, "epsilon": 6.5, "delta": 1e-4},
}
"""With noise, which must be in a step's sum once."""


@pytest.fixture
def workplace(open_workplace: Callable[[Batch], Workplace]) -> Workplace:
    return open_workplace({name: column[:600] for name, column in digits().items()})


def curves(workplace: Workplace, job: str, attempt: int = 1) -> Mapping[str, list[float]]:
    report = files.read_report(workplace.store, job, attempt)
    assert report is not None
    return {series.name: [point.value for point in series.points] for series in report.metrics}


def weights(workplace: Workplace, job: str, *, attempt: int) -> str:
    """The digest of the model's file."""
    output = workplace.output(job, attempt=attempt)
    digest: str = next(one["sha256"] for one in output["files"] if one["path"] == "model.keras")
    return digest


def test_two_workers_learn_along_the_same_curve_as_one(workplace: Workplace) -> None:
    alone = workplace.start("alone", STEADY)
    assert alone.wait(PATIENCE_SECONDS) == 0
    for worker in workplace.start_team("both", STEADY):
        assert worker.wait(PATIENCE_SECONDS) == 0
    one, two = curves(workplace, "alone"), curves(workplace, "both")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert workplace.output("both")["metrics"] == pytest.approx(
        workplace.output("alone")["metrics"], abs=1e-4
    )


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_what_ends_one_worker_ends_all_for_a_restart_that_changes_nothing(
    workplace: Workplace, how: str
) -> None:
    for worker in workplace.start_team("whole", LONG):
        assert worker.wait(PATIENCE_SECONDS) == 0

    disturbed = workplace.start_team("disturbed", LONG)
    workplace.first_step("disturbed", attempt=1)
    victim, other = random.sample(disturbed, 2)
    getattr(victim, how)()
    assert other.wait(PATIENCE_SECONDS) == RESTART
    assert victim.wait(10) == (RESTART if how == "terminate" else -9)
    assert files.read_outcome(workplace.store, "disturbed", 1) is None

    for worker in workplace.start_team("disturbed", LONG, attempt=2):
        assert worker.wait(PATIENCE_SECONDS) == 0
    assert json.dumps(curves(workplace, "disturbed", 2)) == json.dumps(curves(workplace, "whole"))
    assert weights(workplace, "disturbed", attempt=2) == weights(workplace, "whole", attempt=1)


def test_two_workers_are_as_private_as_one_and_a_restart_changes_nothing(workplace: Workplace) -> None:
    # What is drawn hangs on the job's secret: these have the same.
    for job in ("alone", "both", "disturbed"):
        workplace.store.put(f"jobs/{job}/secret", bytes(32))
    assert workplace.start("alone", PRIVATE).wait(PATIENCE_SECONDS) == 0
    for worker in workplace.start_team("both", PRIVATE):
        assert worker.wait(PATIENCE_SECONDS) == 0
    one, two = curves(workplace, "alone"), curves(workplace, "both")
    # A training loss would tell of the records.
    assert set(one) == {"validation_loss", "validation_accuracy"} == set(two)
    np.testing.assert_allclose(one["validation_loss"], two["validation_loss"], rtol=1e-3)
    promised = workplace.output("both")["metrics"]
    assert (promised["privacy_epsilon"], promised["privacy_delta"]) == (6.5, 1e-4)

    disturbed = workplace.start("disturbed", PRIVATE)
    workplace.first_step("disturbed", attempt=1)
    disturbed.kill()
    assert files.read_outcome(workplace.store, "disturbed", 1) is None
    assert workplace.start("disturbed", PRIVATE, attempt=2).wait(PATIENCE_SECONDS) == 0
    assert weights(workplace, "disturbed", attempt=2) == weights(workplace, "alone", attempt=1)
