"""What agents see, as it is sent."""

from typing import Any

import numpy as np
import pytest

from lepton.agent.v1 import agent_pb2
from lepton_common.errors import InvalidField
from lepton_sdk.agents import observation_of

BOX = agent_pb2.Observation(box=agent_pb2.Vector(values=[0.5, -1.0]))


@pytest.mark.parametrize(
    ("seen", "sent"),
    [
        pytest.param(3, agent_pb2.Observation(discrete=3), id="a whole number"),
        pytest.param(np.int64(3), agent_pb2.Observation(discrete=3), id="numpy's whole number"),
        pytest.param([0.5, -1], BOX, id="a list"),
        pytest.param((0.5, -1), BOX, id="a tuple"),
        pytest.param(np.array([0.5, -1], np.float32), BOX, id="an array"),
    ],
)
def test_an_observation_is_sent_by_its_kind(seen: Any, sent: agent_pb2.Observation) -> None:
    assert observation_of(seen) == sent


@pytest.mark.parametrize(
    "seen",
    ["left", [[1, 2]], {"a": 1}, None, 1.5, 2**70, ["a"], [None], np.zeros((2, 2))],
    ids=["text", "nested", "mapping", "none", "fraction", "huge", "texts", "nones", "matrix"],
)
def test_what_no_agent_sees_is_refused(seen: Any) -> None:
    with pytest.raises(InvalidField, match="whole number or a flat list"):
        observation_of(seen)
