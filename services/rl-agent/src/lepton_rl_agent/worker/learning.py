"""A learning run, from its spec to a policy in the object store."""

from functools import partial
from typing import Any

from lepton_common.jobs.worker import Worker
from lepton_common.manifests import Blob, get_blob, put_blob
from lepton_rl_agent.agent import AgentConfig
from lepton_rl_agent.transitions import Transitions
from lepton_rl_agent.worker import course, learners
from lepton_rl_agent.worker.checkpoints import Checkpoints
from lepton_rl_agent.worker.evaluation import play_greedily
from lepton_rl_agent.worker.export import signature, to_onnx

EVALUATION_EPISODES = 20
"""Episodes that are averaged at the end of runs that do not say."""


def learn(worker: Worker) -> dict[str, Any]:
    """Do a learning run and return the output of its job.

    The job's spec is `{"agent": AgentConfig, "spec": LearningSpec, "transitions": Blob}`, the last for
    runs that learn from a log.

    Returns:
        `{"files", "signature", "metrics", "mean_reward"}`, the last where the agent has an environment.

    Raises:
        LeptonError: the log cannot be read, or the run is to stop.
    """
    config, spec = AgentConfig.from_dict(worker.spec["agent"]), worker.spec["spec"]
    learner, plan = _prepare(worker, config, spec)
    judge = partial(play_greedily, config.environment) if config.environment else None
    policy = course.run(
        learner,
        plan,
        judge=judge,
        listener=worker,
        checkpoints=Checkpoints(worker.objects, worker.prefix),
    )
    output = {
        "files": [_publish(worker, to_onnx(policy, config))],
        "signature": signature(config),
        "metrics": {},
    }
    if judge is None:
        return output
    episodes = int(spec.get("simulation", {}).get("evaluation_episodes", 0)) or EVALUATION_EPISODES
    worker.progress("evaluating", 0, episodes, "episode")
    returns = judge(policy, episodes=episodes, seed=plan.seed_at(plan.length, course.Purpose.LAST_JUDGING))
    worker.progress("evaluating", episodes, episodes, "episode")
    metrics = {"mean_reward": float(returns.mean()), "lowest_reward": float(returns.min())}
    return output | {"metrics": metrics, "mean_reward": metrics["mean_reward"]}


def _prepare(worker: Worker, config: AgentConfig, spec: dict[str, Any]) -> learners.Prepared:
    if "simulation" in spec:
        return learners.simulated(config, spec)
    data = get_blob(worker.objects, Blob(**worker.spec["transitions"]))
    return learners.logged(config, spec, transitions=Transitions.from_bytes(data))


def _publish(worker: Worker, model: bytes) -> dict[str, Any]:
    blob = put_blob(worker.objects, "models", model)
    return {"path": "model.onnx", "key": blob.key, "sha256": blob.sha256, "size_bytes": blob.size_bytes}
