"""What an agent may be told that it sees."""

import numpy as np
import pytest

from lepton_common.errors import InvalidField
from lepton_rl_agent.spaces import Box, Discrete, check_observation


def test_a_whole_number_within_a_discrete_space_is_taken_as_it_is() -> None:
    assert check_observation(4, Discrete(5)) == 4


def test_numbers_of_a_box_become_a_flat_float32_array() -> None:
    seen = check_observation([1, 2, 3, 4], Box((2, 2)))
    assert isinstance(seen, np.ndarray)
    assert seen.dtype == np.float32
    assert seen.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("value", "space", "rule"),
    [
        pytest.param(5, Discrete(5), "from 0 to 4", id="beyond the last number"),
        pytest.param(-1, Discrete(5), "from 0 to 4", id="negative"),
        pytest.param([1.0], Discrete(5), "as `discrete`", id="real numbers for whole ones"),
        pytest.param(1, Box((3,)), "as `box`", id="a whole number for real ones"),
        pytest.param([1.0, 2.0], Box((3,)), "3 values", id="too few"),
        pytest.param([1.0] * 5, Box((2, 2)), "4 values", id="too many"),
        pytest.param([1.0, float("nan"), 0.0], Box((3,)), "finite", id="not a number"),
        pytest.param([1.0, float("inf"), 0.0], Box((3,)), "finite", id="infinity"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_rule(
    value: int | list[float], space: Discrete | Box, rule: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        check_observation(value, space, field="feedback.next_observation")
    (violation,) = refused.value.violations
    assert violation.field == "feedback.next_observation"
    assert rule in violation.description
