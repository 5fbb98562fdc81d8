"""Which simulated worlds agents can live in."""

import sys

import pytest

from lepton_common.errors import InvalidField
from lepton_rl_agent import environments
from lepton_rl_agent.spaces import Box, Discrete, Spaces


@pytest.mark.parametrize(
    ("environment", "spaces"),
    [
        ("CartPole-v1", Spaces(Box((4,)), 2)),
        ("FrozenLake-v1", Spaces(Discrete(16), 4)),
        ("CliffWalking-v1", Spaces(Discrete(48), 4)),
        ("Taxi-v4", Spaces(Discrete(500), 6)),
    ],
)
def test_the_spaces_are_those_of_the_environment(environment: str, spaces: Spaces) -> None:
    assert environments.find(environment) == spaces


@pytest.mark.parametrize(
    ("environment", "rule"),
    [
        pytest.param("Nowhere-v0", "must be the id of an environment", id="unknown"),
        pytest.param("CartPole", "must be the id of an environment", id="no version"),
        pytest.param("antigravity:CartPole-v1", "must be the id of an environment", id="a module to import"),
        pytest.param("phys2d/CartPole-v1", "must be the id of an environment", id="another namespace"),
        pytest.param("GymV21Environment-v0", "must be the id of an environment", id="somebody else's"),
        pytest.param("Blackjack-v1", "one array of numbers", id="observations of several parts"),
        pytest.param("MountainCarContinuous-v0", "as actions", id="real-valued actions"),
    ],
)
def test_other_environments_are_refused(environment: str, rule: str) -> None:
    with pytest.raises(InvalidField) as refused:
        environments.find(environment)
    assert rule in refused.value.violations[0].description
    assert "antigravity" not in sys.modules


def test_an_environment_without_a_limit_of_its_own_is_cut_off() -> None:
    world = environments.make("CliffWalking-v1")
    world.reset(seed=0)
    up = 0
    ends = [world.step(up)[2:4] for _ in range(environments.STEP_LIMIT)]
    assert ends[-1] == (False, True)
    assert not any(truncated for _, truncated in ends[:-1])


def test_environments_of_one_id_are_stepped_together() -> None:
    worlds = environments.make_several("CliffWalking-v1", 3)
    observations, _ = worlds.reset(seed=0)
    assert observations.tolist() == [36, 36, 36]
    worlds.close()
