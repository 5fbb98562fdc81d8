"""Which learner a run needs, and how its course is cut.

TensorFlow takes ten seconds to load, so the modules that need it are imported when a network is to be
learned, and never for a table.
"""

from typing import Any, TypeAlias

from lepton_rl_agent import environments
from lepton_rl_agent.agent import AgentConfig, QLearning
from lepton_rl_agent.transitions import Transitions
from lepton_rl_agent.worker.course import Learner, Plan, Purpose
from lepton_rl_agent.worker.logged_table import LoggedTableLearner
from lepton_rl_agent.worker.q_learning import QLearner

SEGMENTS = 20
"""Looks at the policy during a run, where segments do not get too short or too long by it."""

SEGMENT_STEPS, MAX_SEGMENT_STEPS = 2_560, 25_600
"""Environment steps of a segment, and the most of them: they are what a killed worker loses."""

PASSES = 10
"""Passes over a log of runs that do not say."""

Prepared: TypeAlias = tuple[Learner, Plan]


def simulated(config: AgentConfig, spec: dict[str, Any]) -> Prepared:
    """Prepare a run in the agent's environment, from its `LearningSpec` as JSON."""
    steps, algorithm = int(spec["simulation"]["steps"]), config.algorithm
    plan = Plan(
        length=steps,
        segment=min(MAX_SEGMENT_STEPS, max(1, steps // SEGMENTS // SEGMENT_STEPS) * SEGMENT_STEPS),
        unit="step",
        seed=int(spec.get("seed", 0)),
        # A network may forget what it could. A table converges, and the luck of a few episodes would
        # rather pick one that has not yet.
        keep_best=not isinstance(algorithm, QLearning),
    )
    world = environments.make(config.environment)
    if isinstance(algorithm, QLearning):
        return QLearner(config, algorithm, world=world, steps=steps), plan
    from lepton_rl_agent.worker.dqn import DqnLearner

    seed = plan.seed_at(0, Purpose.WEIGHTS)
    return DqnLearner(config, algorithm, world=world, steps=steps, seed=seed), plan


def logged(config: AgentConfig, spec: dict[str, Any], *, transitions: Transitions) -> Prepared:
    """Prepare a run over a log of transitions, from its `LearningSpec` as JSON."""
    passes, algorithm = int(spec["logged_feedback"].get("passes", 0)) or PASSES, config.algorithm
    seed = int(spec.get("seed", 0))
    if isinstance(algorithm, QLearning):
        plan = Plan(length=passes, segment=-(-passes // SEGMENTS), unit="pass", seed=seed, keep_best=False)
        return LoggedTableLearner(config, algorithm, transitions=transitions, passes=passes), plan
    from lepton_rl_agent.worker import logged_dqn

    steps = logged_dqn.gradient_steps(len(transitions), algorithm, passes=passes)
    plan = Plan(
        length=steps,
        segment=logged_dqn.whole_calls(steps // SEGMENTS),
        unit="gradient step",
        seed=seed,
        keep_best=True,
    )
    learner = logged_dqn.LoggedDqnLearner(
        config,
        algorithm,
        transitions=transitions,
        steps=steps,
        seed=plan.seed_at(0, Purpose.WEIGHTS),
    )
    return learner, plan
