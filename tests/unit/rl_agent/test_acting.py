"""From what an agent sees to what it does."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_common.errors import NotFound
from lepton_rl_agent.acting import MAX_ACTORS, Actor, Roster
from lepton_rl_agent.agent import QLearning, settle
from lepton_rl_agent.exploration import EpsilonGreedy, Exploration, Softmax
from lepton_rl_agent.spaces import Discrete, Observation, Spaces

WARM = Softmax(1.0)
SPACES = Spaces(Discrete(3), 4)


class Fixed:
    """A policy that finds the action of the observation's number best, by 1."""

    def values(self, observation: Observation) -> NDArray[np.float32]:
        return np.asarray(np.eye(4, dtype=np.float32)[observation])


def actor(*, rule: Exploration = WARM, policy: Fixed | None = None, uid: str = "u") -> Actor:
    """An agent that is ready to act."""
    config = settle("agents/a", QLearning(), spaces=SPACES, exploration=rule)
    return Actor(uid=uid, config=config, policy=policy)


def test_before_anything_is_learned_every_action_is_as_likely() -> None:
    uniforms = np.random.default_rng(0).random(4000)
    choices = [actor().choose(0, uniform=uniform) for uniform in uniforms]
    assert {choice.probability for choice in choices} == {0.25}
    assert np.bincount([choice.action for choice in choices]) / 4000 == pytest.approx([0.25] * 4, abs=0.03)


@pytest.mark.parametrize(
    ("rule", "best", "other"),
    [
        (Softmax(1.0), np.e / (np.e + 3), 1 / (np.e + 3)),
        (EpsilonGreedy(0.1), 0.925, 0.025),
    ],
    ids=["softmax", "epsilon-greedy"],
)
def test_the_probability_that_is_told_is_the_one_that_was_drawn_with(
    rule: Exploration, best: float, other: float
) -> None:
    acting = actor(rule=rule, policy=Fixed())
    choices = [acting.choose(2, uniform=uniform) for uniform in np.random.default_rng(0).random(20_000)]
    for action, chance in enumerate([other, other, best, other]):
        taken = [choice for choice in choices if choice.action == action]
        assert len(taken) / 20_000 == pytest.approx(chance, abs=0.012)
        assert [choice.probability for choice in taken] == pytest.approx([chance] * len(taken))


class Preparation:
    """Makes agents ready, and counts how often."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.before: list[Actor | None] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, name: str, before: Actor | None) -> Actor:
        self.asked.append(name)
        self.before.append(before)
        uid = str(len(self.asked))
        await self.go_on.wait()
        if name == "agents/gone":
            raise NotFound("gone")
        return actor(uid=uid)


async def test_an_agent_is_made_ready_once() -> None:
    preparation = Preparation()
    roster = Roster(preparation)
    assert await roster.find("agents/a") is await roster.find("agents/a")
    assert preparation.asked == ["agents/a"]


async def test_those_who_ask_at_once_wait_for_the_same() -> None:
    preparation = Preparation()
    preparation.go_on.clear()
    roster = Roster(preparation)
    asking = [asyncio.create_task(roster.find("agents/a")) for _ in range(5)]
    await asyncio.sleep(0)
    preparation.go_on.set()
    assert len({(await one).uid for one in asking}) == 1
    assert len(preparation.asked) == 1


async def test_after_a_change_it_is_made_ready_again_from_what_it_was() -> None:
    preparation = Preparation()
    roster = Roster(preparation)
    first = await roster.find("agents/a")
    roster.forget()
    assert (await roster.find("agents/a")).uid == "2"
    assert preparation.before == [None, first]


async def test_a_change_while_it_is_made_ready_is_not_missed() -> None:
    preparation = Preparation()
    preparation.go_on.clear()
    roster = Roster(preparation)
    asking = asyncio.create_task(roster.find("agents/a"))
    await asyncio.sleep(0)
    roster.forget()
    preparation.go_on.set()
    await asking
    assert (await roster.find("agents/a")).uid == "2"


async def test_an_agent_that_is_gone_is_asked_for_again() -> None:
    preparation = Preparation()
    roster = Roster(preparation)
    for _ in range(2):
        with pytest.raises(NotFound):
            await roster.find("agents/gone")
    assert len(preparation.asked) == 2


async def test_only_so_many_agents_are_kept_ready() -> None:
    preparation = Preparation()
    roster = Roster(preparation)
    for number in range(MAX_ACTORS + 1):
        await roster.find(f"agents/a{number}")
    await roster.find(f"agents/a{MAX_ACTORS}")
    assert len(preparation.asked) == MAX_ACTORS + 1
    await roster.find("agents/a0")
    assert len(preparation.asked) == MAX_ACTORS + 2
