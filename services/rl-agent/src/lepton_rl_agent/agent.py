"""What an agent is: its defaults and its rules."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from lepton_common.errors import FieldViolation, InvalidField
from lepton_rl_agent.exploration import EpsilonGreedy, Exploration, Softmax
from lepton_rl_agent.spaces import Box, Discrete, Spaces

DISCOUNT = 0.99
"""gamma of agents that do not say."""

MAX_TABLE_ENTRIES = 20_000_000
"""States times actions of a table: 160 MB while it learns, 80 MB as a policy."""

MAX_REPLAY_BYTES = 1 << 30
"""Of the remembered transitions of a run, and of the batches of one learning call."""

MAX_PARAMETERS = 16_000_000
"""Weights of a network; its optimizer and its target need four times as many numbers."""

UPDATES_PER_CALL = 128
"""Gradient steps that a DQN makes in one call: one compiled loop, from one upload of batches."""


@dataclass(frozen=True)
class QLearning:
    """Q-learning in a table. Watkins, 1989.

    Attributes:
        learning_rate: the step size alpha at the start; it falls to a twentieth.
        initial_value: of every pair before it was seen.
    """

    learning_rate: float = 0.1
    initial_value: float = 0.0


@dataclass(frozen=True)
class Dqn:
    """A network that estimates Q: double, duelling, n-step.

    Attributes:
        learning_rate: the step size of Adam at the start; it falls to a hundredth.
        hidden_units: the width of each hidden layer.
        batch_size: transitions a gradient step.
        buffer_size: transitions that are remembered.
        n_step: rewards that are summed before the value of the state is used.
    """

    learning_rate: float = 0.0023
    hidden_units: tuple[int, ...] = (64, 64)
    batch_size: int = 64
    buffer_size: int = 100_000
    n_step: int = 3


Algorithm: TypeAlias = QLearning | Dqn


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """What an agent is as it acts and learns, every default filled in.

    Attributes:
        name: `agents/{agent}`.
        environment: id of the Gymnasium environment that it lives in; may be empty.
        spaces: what it sees and does.
        algorithm: how it learns.
        discount: gamma, what a reward is worth one step later.
        exploration: how it chooses when it acts.
        model: `models/{model}` that its learned policies become versions of.
    """

    name: str
    environment: str
    spaces: Spaces
    algorithm: Algorithm
    discount: float
    exploration: Exploration
    model: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it, for a worker."""
        tagged = (self.spaces.observation, self.algorithm, self.exploration)
        return asdict(self) | {"kinds": [type(part).__name__ for part in tagged]}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "AgentConfig":
        """Return what `to_dict` was called on."""
        seen, learns, chooses = (_KINDS[kind] for kind in document["kinds"])
        spaces = document["spaces"]
        return cls(
            name=document["name"],
            environment=document["environment"],
            spaces=Spaces(_part(seen, spaces["observation"]), spaces["actions"]),
            algorithm=_part(learns, document["algorithm"]),
            discount=document["discount"],
            exploration=_part(chooses, document["exploration"]),
            model=document["model"],
        )


_KINDS = {kind.__name__: kind for kind in (Discrete, Box, QLearning, Dqn, Softmax, EpsilonGreedy)}


def _part(kind: Any, fields: dict[str, Any]) -> Any:
    # JSON has no tuples, and no part has a list.
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    )


def settle(
    name: str,
    algorithm: Algorithm,
    *,
    environment: str = "",
    spaces: Spaces | None = None,
    discount: float | None = None,
    exploration: Exploration | None = None,
    model: str = "",
) -> AgentConfig:
    """Fill in the defaults of an agent and check that its parts go together.

    Args:
        name: `agents/{agent}`.
        algorithm: how it learns.
        environment: where it lives; its spaces win over `spaces`.
        spaces: what it sees and does where there is no environment.
        discount: gamma; None for the default.
        exploration: None for softmax with temperature 1.
        model: where its policies go; empty for `models/{agent}-policy`.

    Raises:
        InvalidField: the environment is not known, nothing says what the agent sees, or the
            algorithm does not learn from what it sees or is too large.
    """
    if environment:
        # Imported here: most starts of the service need no environment, and it takes a fifth of a second.
        from lepton_rl_agent import environments

        spaces = environments.find(environment)
    if spaces is None:
        raise _invalid("agent.spaces", "must say what the agent sees and does, where it has no environment")
    _check_algorithm(algorithm, spaces)
    return AgentConfig(
        name=name,
        environment=environment,
        spaces=spaces,
        algorithm=algorithm,
        discount=DISCOUNT if discount is None else discount,
        exploration=exploration or Softmax(1.0),
        model=model or _default_model(name),
    )


def _default_model(name: str) -> str:
    # Ids have at most 63 characters, here as there; the end of a long one makes room.
    agent = name.removeprefix("agents/")[: 63 - len("-policy")].rstrip("-")
    return f"models/{agent}-policy"


def _check_algorithm(algorithm: Algorithm, spaces: Spaces) -> None:
    seen = spaces.observation
    if isinstance(algorithm, QLearning):
        if isinstance(seen, Box):
            raise _invalid("agent.q_learning", "learns from whole numbers only; use `dqn` for real numbers")
        if seen.size * spaces.actions > MAX_TABLE_ENTRIES:
            rule = f"may have a table of at most {MAX_TABLE_ENTRIES} states times actions"
            raise _invalid("agent.spaces", rule)
        return
    if isinstance(seen, Discrete):
        raise _invalid("agent.dqn", "learns from real numbers only; use `q_learning` for whole numbers")
    layers = (seen.size, *algorithm.hidden_units, spaces.actions + 1)
    parameters = sum((before + 1) * after for before, after in pairwise(layers))
    if parameters > MAX_PARAMETERS:
        raise _invalid(
            "agent.dqn.hidden_units", f"may give at most {MAX_PARAMETERS} weights, not {parameters}"
        )
    most = MAX_REPLAY_BYTES // (4 * (2 * seen.size + 3))
    for field, value, limit in (
        ("buffer_size", algorithm.buffer_size, most),
        ("batch_size", algorithm.batch_size, most // UPDATES_PER_CALL),
    ):
        if value > limit:
            raise _invalid(f"agent.dqn.{field}", f"may be at most {limit} for such observations")


def _invalid(field: str, rule: str) -> InvalidField:
    return InvalidField(f"{field} {rule}", violations=[FieldViolation(field, rule)])
