"""Decisions and their feedback, as much of them as learning needs."""

from dataclasses import dataclass

from lepton_rl_agent.spaces import Observation


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What became of a decision.

    Attributes:
        reward: how good it was.
        terminated: the episode ended here by its own rules.
        truncated: the episode was cut off here from outside.
        next_observation: what was seen after; None if nothing was told.
    """

    reward: float
    terminated: bool = False
    truncated: bool = False
    next_observation: Observation | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """An action that was chosen.

    Attributes:
        episode: what ties decisions together; empty for one on its own.
        observation: what was seen.
        action: what was chosen.
        feedback: what became of it; None until told.
    """

    episode: str = ""
    observation: Observation
    action: int
    feedback: Feedback | None = None
