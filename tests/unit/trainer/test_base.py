"""What a private training may begin with."""

import pytest

from lepton_common.errors import InvalidField
from lepton_trainer.base import BaseModel, check_private_base
from lepton_trainer.budget import Cost
from lepton_trainer.lineage import Node


def trained(*, on: str, privacy: Cost | None) -> BaseModel:
    """A version, and what is behind it: a training, after one on something else."""
    return BaseModel(
        name="models/m/versions/2",
        trainable=True,
        files=[],
        lineage=[
            Node(name="models/m/versions/2", kind="MODEL_VERSION", parents=("trainingJobs/second",)),
            Node(name="trainingJobs/second", kind="TRAINING_JOB", parents=("datasets/x/versions/1",)),
            Node(name="datasets/x/versions/1", kind="DATASET_VERSION"),
            Node(name="trainingJobs/first", kind="TRAINING_JOB", parents=(on,), privacy=privacy),
        ],
    )


@pytest.mark.parametrize(
    ("on", "privacy"),
    [
        pytest.param("datasets/people/versions/1", Cost(epsilon=1, delta=1e-5), id="learnt privately"),
        pytest.param("datasets/people-of-old/versions/1", None, id="of another dataset"),
    ],
)
def test_a_base_that_is_private_or_knows_nothing_will_do(on: str, privacy: Cost | None) -> None:
    check_private_base(trained(on=on, privacy=privacy), "datasets/people")


def test_a_base_that_knows_the_records_is_refused() -> None:
    base = trained(on="datasets/people/versions/3", privacy=None)
    with pytest.raises(
        InvalidField, match="a training on 'datasets/people' without privacy, as 'trainingJobs"
    ):
        check_private_base(base, "datasets/people")
