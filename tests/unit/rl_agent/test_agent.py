"""What an agent is when its defaults are filled in, and what cannot be one."""

import json

import pytest

from lepton_common.errors import InvalidField
from lepton_rl_agent.agent import AgentConfig, Algorithm, Dqn, QLearning, settle
from lepton_rl_agent.exploration import EpsilonGreedy, Softmax
from lepton_rl_agent.spaces import Box, Discrete, Spaces

NUMBERS, STATES = Spaces(Box((4,)), 2), Spaces(Discrete(16), 4)


def test_what_is_left_out_takes_its_default() -> None:
    assert settle("agents/lake", QLearning(), spaces=STATES) == AgentConfig(
        name="agents/lake",
        environment="",
        spaces=STATES,
        algorithm=QLearning(learning_rate=0.1, initial_value=0.0),
        discount=0.99,
        exploration=Softmax(1.0),
        model="models/lake-policy",
    )


def test_the_spaces_of_an_environment_win() -> None:
    assert settle("agents/a", Dqn(), environment="CartPole-v1", spaces=STATES).spaces == NUMBERS


def test_a_discount_of_zero_is_not_the_default() -> None:
    assert settle("agents/a", Dqn(), spaces=NUMBERS, discount=0.0).discount == 0.0


def test_the_model_of_a_long_name_is_a_valid_name() -> None:
    model = settle("agents/" + "a" * 63, Dqn(), spaces=NUMBERS).model
    assert model == "models/" + "a" * 56 + "-policy"


@pytest.mark.parametrize(
    ("algorithm", "spaces", "field"),
    [
        pytest.param(QLearning(), None, "agent.spaces", id="nothing says what it sees"),
        pytest.param(QLearning(), NUMBERS, "agent.q_learning", id="a table for real numbers"),
        pytest.param(Dqn(), STATES, "agent.dqn", id="a network for whole numbers"),
        pytest.param(QLearning(), Spaces(Discrete(10**7), 10), "agent.spaces", id="a table too large"),
        pytest.param(
            Dqn(hidden_units=(60_000, 60_000)), NUMBERS, "agent.dqn.hidden_units", id="a network too large"
        ),
        pytest.param(
            Dqn(buffer_size=10**8), NUMBERS, "agent.dqn.buffer_size", id="more to remember than there is room"
        ),
        pytest.param(
            Dqn(batch_size=65_536, hidden_units=(8,)),
            Spaces(Box((84, 84)), 2),
            "agent.dqn.buffer_size",
            id="large observations",
        ),
        pytest.param(
            Dqn(batch_size=65_536, buffer_size=1, hidden_units=(8,)),
            Spaces(Box((84, 84)), 2),
            "agent.dqn.batch_size",
            id="large batches",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused(
    algorithm: Algorithm, spaces: Spaces | None, field: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        settle("agents/a", algorithm, spaces=spaces)
    assert refused.value.violations[0].field == field


@pytest.mark.parametrize(
    "config",
    [
        settle("agents/a", QLearning(0.5, 20.0), spaces=STATES, exploration=EpsilonGreedy(0.1)),
        settle("agents/a", Dqn(hidden_units=(8, 4)), spaces=Spaces(Box((2, 3)), 2), discount=0.5),
    ],
    ids=["table", "network"],
)
def test_it_goes_to_a_worker_as_json_and_comes_out_the_same(config: AgentConfig) -> None:
    assert AgentConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
