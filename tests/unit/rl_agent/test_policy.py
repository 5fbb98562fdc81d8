"""A policy as an agent acts by it."""

import numpy as np
import pytest

from lepton_common.errors import InvalidModel
from lepton_rl_agent.agent import Dqn, QLearning, settle
from lepton_rl_agent.policy import OnnxPolicy
from lepton_rl_agent.spaces import Box, Discrete, Spaces
from lepton_rl_agent.worker.export import to_onnx
from lepton_rl_agent.worker.network import initial
from lepton_rl_agent.worker.policy import NetworkPolicy, TablePolicy

STATES, NUMBERS = Spaces(Discrete(5), 3), Spaces(Box((2, 2)), 3)
TABLE = TablePolicy((np.arange(15, dtype=np.float32).reshape(5, 3),))
NETWORK = NetworkPolicy(initial(np.random.default_rng(0), [4, 8, 3]))
TABLE_MODEL = to_onnx(TABLE, settle("agents/a", QLearning(), spaces=STATES))
NETWORK_MODEL = to_onnx(NETWORK, settle("agents/a", Dqn(), spaces=NUMBERS))


def test_it_gives_the_values_that_were_learned_for_a_state() -> None:
    assert OnnxPolicy(TABLE_MODEL, STATES).values(4).tolist() == [12, 13, 14]


def test_it_gives_the_values_that_were_learned_for_numbers() -> None:
    seen = np.array([1, -2, 3, 0.5], dtype=np.float32)
    assert OnnxPolicy(NETWORK_MODEL, NUMBERS).values(seen) == pytest.approx(
        NETWORK.values(seen.reshape(1, 2, 2))[0], abs=1e-6
    )


@pytest.mark.parametrize(
    ("model", "spaces"),
    [
        pytest.param(NETWORK_MODEL, STATES, id="it takes numbers and the agent sees states"),
        pytest.param(TABLE_MODEL, NUMBERS, id="it takes states and the agent sees numbers"),
        pytest.param(NETWORK_MODEL, Spaces(Box((4,)), 3), id="another shape"),
        pytest.param(TABLE_MODEL, Spaces(Discrete(5), 4), id="another number of actions"),
        pytest.param(TABLE_MODEL[:-100], STATES, id="cut off"),
        pytest.param(b"not a model", STATES, id="something else"),
    ],
)
def test_what_does_not_fit_the_agent_is_refused(model: bytes, spaces: Spaces) -> None:
    with pytest.raises(InvalidModel):
        OnnxPolicy(model, spaces)
