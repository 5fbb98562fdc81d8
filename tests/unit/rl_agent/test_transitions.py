"""From decisions and their feedback to what can be learned from."""

from collections.abc import Sequence

import numpy as np
import pytest

from lepton_rl_agent.decisions import Decision, Feedback
from lepton_rl_agent.spaces import Box, Discrete, ObservationSpace
from lepton_rl_agent.transitions import Joiner, Transitions

NUMBERS = Discrete(10)
TOLD = Feedback(reward=1.0)
OVER = Feedback(reward=2.0, terminated=True)
CUT = Feedback(reward=3.0, truncated=True)


def seen(observation: int, feedback: Feedback | None = None, *, episode: str = "e") -> Decision:
    """A decision to do what is 10 times the number that was seen."""
    return Decision(episode=episode, observation=observation, action=10 * observation, feedback=feedback)


def joined(decisions: Sequence[Decision], *, space: ObservationSpace = NUMBERS) -> Transitions:
    """The transitions of a log."""
    joiner = Joiner(space)
    for decision in decisions:
        joiner.add(decision)
    return joiner.transitions()


@pytest.mark.parametrize(
    ("decisions", "steps"),
    [
        pytest.param([seen(1, TOLD), seen(2)], [(1, 2, False)], id="the next decision tells what came after"),
        pytest.param([seen(1, TOLD)], [], id="nobody knows yet what came after"),
        pytest.param([seen(1), seen(2, OVER)], [(2, None, True)], id="no feedback, no transition"),
        pytest.param(
            [seen(1, TOLD), seen(2, OVER)], [(1, 2, False), (2, None, True)], id="an episode to its end"
        ),
        pytest.param(
            [seen(1, TOLD, episode="a"), seen(5, TOLD, episode="b"), seen(2, episode="a")],
            [(1, 2, False)],
            id="episodes at the same time",
        ),
        pytest.param(
            [seen(1, Feedback(reward=0, next_observation=7)), seen(2)],
            [(1, 7, False)],
            id="the feedback itself tells what came after",
        ),
        pytest.param([seen(1, OVER), seen(2)], [(1, None, True)], id="nothing comes after the end"),
        pytest.param([seen(1, CUT), seen(2)], [], id="after a cut a new course begins"),
        pytest.param(
            [seen(1, Feedback(reward=0, truncated=True, next_observation=4))],
            [(1, 4, False)],
            id="a cut that tells what was seen last",
        ),
        pytest.param(
            [seen(1, TOLD, episode=""), seen(2, TOLD, episode="")],
            [(1, None, True), (2, None, True)],
            id="decisions on their own",
        ),
        pytest.param(
            [seen(1, Feedback(reward=0, next_observation=3), episode="")],
            [(1, 3, False)],
            id="one on its own that goes on",
        ),
        pytest.param([], [], id="nothing"),
    ],
)
def test_a_log_becomes(decisions: list[Decision], steps: list[tuple[int, int | None, bool]]) -> None:
    found = joined(decisions)
    assert found.observations.tolist() == [before for before, _, _ in steps]
    assert found.actions.tolist() == [10 * before for before, _, _ in steps]
    assert found.terminal.tolist() == [terminal for _, _, terminal in steps]
    later = [
        after for after, terminal in zip(found.next_observations, found.terminal, strict=True) if not terminal
    ]
    assert later == [after for _, after, terminal in steps if not terminal]


def test_rewards_stay_with_their_decisions() -> None:
    found = joined([seen(1, TOLD), seen(2, OVER), seen(3, episode="f")])
    assert found.rewards.tolist() == [1.0, 2.0]


def test_numbers_stay_flat_arrays() -> None:
    first, second = np.array([1, 2], dtype=np.float32), np.array([3, 4], dtype=np.float32)
    found = joined(
        [
            Decision(episode="e", observation=first, action=0, feedback=TOLD),
            Decision(episode="e", observation=second, action=1, feedback=OVER),
        ],
        space=Box((2,)),
    )
    assert found.observations.tolist() == [[1, 2], [3, 4]]
    assert found.next_observations[0].tolist() == [3, 4]


def test_they_travel_as_bytes_that_are_equal_for_equal_logs() -> None:
    log = [seen(1, TOLD), seen(2, OVER)]
    data = joined(log).to_bytes()
    assert joined(log).to_bytes() == data
    again = Transitions.from_bytes(data)
    assert again.observations.tolist() == [1, 2]
    assert again.observations.dtype == np.int64
    assert again.terminal.tolist() == [False, True]
