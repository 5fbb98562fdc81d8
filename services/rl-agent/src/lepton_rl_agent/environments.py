"""The simulated worlds that agents can learn in: those that Gymnasium brings itself."""

from typing import Any

import gymnasium
from gymnasium import spaces as gym_spaces
from gymnasium.envs.registration import EnvSpec

from lepton_common.errors import FieldViolation, InvalidField
from lepton_rl_agent.spaces import Box, Discrete, ObservationSpace, Spaces

STEP_LIMIT = 1000
"""Steps after which an episode is cut off in an environment that has no limit of its own."""


def find(environment: str) -> Spaces:
    """Return the spaces of an environment.

    Args:
        environment: its id with the version. Example: `CartPole-v1`.

    Raises:
        InvalidField: there is no such environment here, or its observations or actions are of a
            kind that agents do not take.
    """
    world = make(environment)
    try:
        return Spaces(
            observation=_observation_space(environment, world.observation_space),
            actions=_actions(environment, world.action_space),
        )
    finally:
        world.close()


def make(environment: str) -> gymnasium.Env[Any, Any]:
    """Make one environment of an id.

    Raises:
        InvalidField: there is no such environment here.
    """
    spec = _spec(environment)
    try:
        return gymnasium.make(spec, max_episode_steps=_limit(spec), disable_env_checker=True)
    except (gymnasium.error.DependencyNotInstalled, ImportError) as exc:
        raise _refusal(environment, "needs a package that is not installed here") from exc


def make_several(environment: str, count: int) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Make several environments of an id that are stepped together.

    Raises:
        InvalidField: there is no such environment here.
    """
    spec = _spec(environment)
    return gymnasium.make_vec(spec, num_envs=count, max_episode_steps=_limit(spec))


def _spec(environment: str) -> EnvSpec:
    # Looked up, never resolved: Gymnasium would import the module of an id like `module:Id`, and
    # would take what other packages have registered.
    spec = gymnasium.registry.get(environment)
    if spec is None or spec.namespace or not str(spec.entry_point).startswith("gymnasium.envs."):
        raise _refusal(environment, "must be the id of an environment of Gymnasium, as `CartPole-v1`")
    return spec


def _limit(spec: EnvSpec) -> int:
    return spec.max_episode_steps or STEP_LIMIT


def _observation_space(environment: str, space: gymnasium.Space[Any]) -> ObservationSpace:
    if isinstance(space, gym_spaces.Discrete) and space.start == 0:
        return Discrete(int(space.n))
    if isinstance(space, gym_spaces.Box):
        return Box(tuple(int(side) for side in space.shape) or (1,))
    raise _refusal(environment, "must have whole numbers from 0, or one array of numbers, as observations")


def _actions(environment: str, space: gymnasium.Space[Any]) -> int:
    if isinstance(space, gym_spaces.Discrete) and space.start == 0:
        return int(space.n)
    raise _refusal(environment, "must have whole numbers from 0 as actions")


def _refusal(environment: str, rule: str) -> InvalidField:
    return InvalidField(
        f"agents cannot live in the environment {environment!r}",
        violations=[FieldViolation("agent.environment", rule)],
    )
