"""What happened, as an agent learns from it: what was seen, what was done, and what came of it."""

import io
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_rl_agent.decisions import Decision
from lepton_rl_agent.spaces import Discrete, Observation, ObservationSpace


@dataclass(frozen=True)
class Transitions:
    """Single steps.

    Attributes:
        observations: whole numbers `[n]` int64, or flat arrays `[n, numbers]` float32.
        actions: `[n]` int64.
        rewards: `[n]` float64.
        next_observations: as `observations`; of no meaning where the step is terminal.
        terminal: whether nothing came after by the rules, `[n]` bool.
    """

    observations: NDArray[Any]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    next_observations: NDArray[Any]
    terminal: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.actions)

    def to_bytes(self) -> bytes:
        """Return them as an `.npz`; equal transitions give equal bytes."""
        sink = io.BytesIO()
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(sink, allow_pickle=False, **arrays)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Transitions":
        """Return what `to_bytes` was called on."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return cls(**{field.name: archive[field.name] for field in fields(cls)})


class Joiner:
    """Joins decisions and their feedback into transitions.

    A decision without feedback is no transition. What was seen after one with feedback is what the
    feedback says, else what the next decision of its episode saw. A decision on its own that says nothing
    of what came after is the end of an episode of one step.

    Args:
        space: what the agent sees.
    """

    def __init__(self, space: ObservationSpace) -> None:
        self._space = space
        self._dtype = np.dtype(np.int64 if isinstance(space, Discrete) else np.float32)
        # Bytes, not arrays: a log may have a million of them.
        self._seen, self._seen_next = bytearray(), bytearray()
        self._actions: list[int] = []
        self._rewards: list[float] = []
        self._terminal: list[bool] = []
        self._waiting: dict[str, Decision] = {}

    @property
    def bytes_per_transition(self) -> int:
        """Bytes of the two observations of a transition."""
        numbers = 1 if isinstance(self._space, Discrete) else self._space.size
        return 2 * numbers * self._dtype.itemsize

    def add(self, decision: Decision) -> None:
        """Take the next decision, in the order in which they were made."""
        before = self._waiting.pop(decision.episode, None)
        if before is not None:
            self._join(before, decision.observation)
        feedback = decision.feedback
        if feedback is None:
            return
        if feedback.next_observation is not None or feedback.terminated or not decision.episode:
            self._join(decision, None if feedback.terminated else feedback.next_observation)
        elif not feedback.truncated:
            self._waiting[decision.episode] = decision

    def transitions(self) -> Transitions:
        """Return the transitions that are complete."""
        shape = (-1,) if isinstance(self._space, Discrete) else (-1, self._space.size)
        return Transitions(
            observations=np.frombuffer(self._seen, self._dtype).reshape(shape),
            actions=np.array(self._actions, dtype=np.int64),
            rewards=np.array(self._rewards, dtype=np.float64),
            next_observations=np.frombuffer(self._seen_next, self._dtype).reshape(shape),
            terminal=np.array(self._terminal, dtype=np.bool_),
        )

    def _join(self, decision: Decision, later: Observation | None) -> None:
        if decision.feedback is None:
            return
        self._seen += self._bytes(decision.observation)
        self._seen_next += self._bytes(decision.observation if later is None else later)
        self._actions.append(decision.action)
        self._rewards.append(decision.feedback.reward)
        self._terminal.append(later is None)

    def _bytes(self, observation: Observation) -> bytes:
        return np.asarray(observation, dtype=self._dtype).tobytes()
