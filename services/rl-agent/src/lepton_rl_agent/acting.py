"""Acting: from what an agent sees to what it does, and with which probability it did it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent.agent import AgentConfig
from lepton_rl_agent.exploration import draw, probabilities
from lepton_rl_agent.spaces import Observation

MAX_ACTORS = 256
"""Agents that are kept ready to act; the one that was made ready first goes first."""


class Policy(Protocol):
    """Something that was learned."""

    def values(self, observation: Observation) -> NDArray[np.float32]:
        """Return the action values, `[actions]`."""


@dataclass(frozen=True)
class Choice:
    """An action and the probability that it was chosen with."""

    action: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class Actor:
    """An agent that is ready to act.

    Attributes:
        uid: the agent's, unique over all time.
        config: what the agent is.
        version: the policy's name; empty for none.
        policy: None before anything was learned: any action is then as good as any other.
    """

    uid: str
    config: AgentConfig
    version: str = ""
    policy: Policy | None = None

    def choose(self, observation: Observation, *, uniform: float) -> Choice:
        """Choose an action.

        Args:
            observation: an element of the agent's space.
            uniform: a number drawn evenly from [0, 1); the only thing that is left to chance.

        Raises:
            InvalidModel: the policy gives values that are not finite.
        """
        actions = self.config.spaces.actions
        if self.policy is None:
            chances = np.full(actions, 1.0 / actions)
        else:
            chances = probabilities(self.policy.values(observation), self.config.exploration)
        action = draw(chances, uniform)
        return Choice(action, float(chances[action]))


Prepare = Callable[[str, Actor | None], Awaitable[Actor]]
"""Makes an agent of a name ready, given how it was ready before."""


class Roster:
    """The agents that are ready to act, each made ready when it is first needed.

    Args:
        prepare: makes an agent ready.
    """

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._ready: dict[str, tuple[int, Actor]] = {}
        # A lock lives as long as somebody waits for it.
        self._preparing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._generation = 0

    async def find(self, name: str) -> Actor:
        """Return an agent, ready to act; whoever asks meanwhile waits for the same.

        Raises:
            LeptonError: what `prepare` raises.
        """
        actor = self._current(name)
        if actor is not None:
            return actor
        lock = self._preparing.setdefault(name, asyncio.Lock())
        async with lock:
            actor = self._current(name)
            if actor is None:
                actor = await self._renew(name)
        return actor

    def forget(self) -> None:
        """Ask again for every agent: one of them has changed."""
        self._generation += 1

    def _current(self, name: str) -> Actor | None:
        generation, actor = self._ready.get(name, (-1, None))
        return actor if generation == self._generation else None

    async def _renew(self, name: str) -> Actor:
        # Of the generation before the reading: a change meanwhile must not be missed.
        generation = self._generation
        _, before = self._ready.get(name, (0, None))
        actor = await self._prepare(name, before)
        self._ready.pop(name, None)
        self._ready[name] = (generation, actor)
        while len(self._ready) > MAX_ACTORS:
            self._ready.pop(next(iter(self._ready)))
        return actor
