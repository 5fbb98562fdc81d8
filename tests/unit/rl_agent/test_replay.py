"""What a DQN remembers."""

import numpy as np
import pytest

from lepton_rl_agent.worker.replay import ReplayBuffer

GAMMA = 0.5


def play(
    buffer: ReplayBuffer, rewards: list[float], *, terminated: bool = False, truncated: bool = False
) -> None:
    """An episode whose observation is the number of the step."""
    for step, reward in enumerate(rewards):
        last = step == len(rewards) - 1
        buffer.add(
            np.array([step], dtype=np.float32),
            step % 2,
            reward=reward,
            next_observation=np.array([step + 1], dtype=np.float32),
            terminated=terminated and last,
            ended=(terminated or truncated) and last,
        )


def rows(buffer: ReplayBuffer) -> list[list[float]]:
    """What is remembered: observation, later observation, action, sum of rewards, discount."""
    found: list[list[float]] = buffer.state()["rows"].tolist()
    return found


def test_a_step_counts_the_rewards_of_the_next_n_steps() -> None:
    buffer = ReplayBuffer(10, 1, discount=GAMMA, n_step=3)
    play(buffer, [1, 2, 4, 8])
    assert rows(buffer) == [
        [0, 3, 0, 1 + 2 * GAMMA + 4 * GAMMA**2, GAMMA**3],
        [1, 4, 1, 2 + 4 * GAMMA + 8 * GAMMA**2, GAMMA**3],
    ]


def test_nothing_comes_after_the_end_of_an_episode() -> None:
    buffer = ReplayBuffer(10, 1, discount=GAMMA, n_step=3)
    play(buffer, [1, 2], terminated=True)
    assert rows(buffer) == [[0, 2, 0, 1 + 2 * GAMMA, 0], [1, 2, 1, 2, 0]]


def test_what_comes_after_a_time_limit_still_counts() -> None:
    buffer = ReplayBuffer(10, 1, discount=GAMMA, n_step=3)
    play(buffer, [1, 2], truncated=True)
    assert rows(buffer) == [[0, 2, 0, 1 + 2 * GAMMA, GAMMA**2], [1, 2, 1, 2, GAMMA]]


def test_an_episode_that_is_cut_from_outside_is_like_one_with_a_time_limit() -> None:
    buffer, limited = (ReplayBuffer(10, 1, discount=GAMMA, n_step=3) for _ in range(2))
    play(buffer, [1, 2])
    buffer.cut(np.array([2], dtype=np.float32))
    play(limited, [1, 2], truncated=True)
    assert rows(buffer) == rows(limited)


def test_episodes_do_not_run_into_each_other() -> None:
    buffer = ReplayBuffer(10, 1, discount=GAMMA, n_step=3)
    play(buffer, [1], terminated=True)
    play(buffer, [1], terminated=True)
    assert rows(buffer) == [[0, 1, 0, 1, 0]] * 2


def test_the_oldest_are_forgotten_first() -> None:
    buffer = ReplayBuffer(3, 1, discount=GAMMA)
    play(buffer, [0, 1, 2, 3, 4])
    assert len(buffer) == 3
    assert sorted(row[3] for row in rows(buffer)) == [2, 3, 4]


@pytest.mark.parametrize("steps", [2, 3, 7])
def test_after_a_restore_everything_goes_on_as_it_would_have(steps: int) -> None:
    buffer, restored = (ReplayBuffer(3, 1, discount=GAMMA) for _ in range(2))
    play(buffer, [1.0] * steps)
    restored.restore({name: array.copy() for name, array in buffer.state().items()})
    for one in (buffer, restored):
        play(one, [5.0, 6.0])
    samples = [one.sample(np.random.default_rng(0), 100) for one in (buffer, restored)]
    assert np.array_equal(samples[0], samples[1])


def test_rows_are_drawn_evenly() -> None:
    buffer = ReplayBuffer(4, 1, discount=GAMMA)
    play(buffer, [0, 1, 2, 3])
    drawn = buffer.sample(np.random.default_rng(0), 20_000)
    assert drawn.dtype == np.float32
    assert np.bincount(drawn[:, 3].astype(int)) / 20_000 == pytest.approx([0.25] * 4, abs=0.01)
