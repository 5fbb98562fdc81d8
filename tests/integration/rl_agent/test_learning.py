"""Learning runs over gRPC: a real server, a real registry, real workers."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lepton.agent.v1 import agent_pb2 as pb
from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2
from lepton_common.errors import InUse, InvalidField, NotFound, WrongState
from lepton_common.rpc import named_errors

from .conftest import LAKE, POLE, SHOP, running

if TYPE_CHECKING:
    from .conftest import AgentService, Registry

START, GOAL = 0, 14
"""Squares of the lake: where one starts, and the last one before the goal."""

LONG = pb.Simulation(steps=10_000_000)


async def test_an_agent_learns_in_its_environment_and_acts_by_what_it_learned(
    service: AgentService, registry: Registry
) -> None:
    await service.create("lake", LAKE)
    run = await service.learn("agents/lake", simulation=pb.Simulation(steps=50_000, evaluation_episodes=100))
    seen = [each async for each in service.watch(run)]

    ended = seen[-1]
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED, ended.status
    assert ended.model_version == "models/lake-policy/versions/1"
    # The best there is reaches the goal in 74 of 100 episodes within the time limit.
    assert ended.mean_reward > 0.55
    metrics = {series.name: series.points for series in ended.status.metrics}
    assert len(metrics["mean_greedy_reward"]) == len(metrics["episode_reward"]) == 20
    assert (ended.status.progress.phase, ended.status.progress.unit) == ("evaluating", "episode")
    assert any(each.status.progress.unit == "step" for each in seen)

    version = await registry.version(ended.model_version)
    assert version.format == model_pb2.MODEL_FORMAT_ONNX
    assert version.metrics["mean_reward"] == ended.mean_reward
    assert [tensor.name for tensor in version.signature.outputs] == [
        "action_values",
        "probabilities",
        "action",
    ]
    (node,) = version.lineage
    assert (node.name, node.kind) == (run.name, model_pb2.LINEAGE_KIND_LEARNING_RUN)

    agent = await service.get("agents/lake")
    assert agent.policy == ended.model_version
    agent.exploration.epsilon_greedy.epsilon = 0.0
    await service.update(agent)
    decisions = [await service.act("agents/lake", GOAL) for _ in range(5)]
    assert {decision.policy for decision in decisions} == {ended.model_version}
    # Slipping, it is reached best by going down or right; whichever, always the same.
    assert len({decision.action for decision in decisions}) == 1
    assert {decision.probability for decision in decisions} == {1.0}


async def test_an_agent_learns_from_what_was_told_of_its_decisions(
    service: AgentService, registry: Registry
) -> None:
    await service.create("shop", SHOP)
    for number in range(90):
        decision = await service.act("agents/shop", number % 3)
        right = decision.action == (decision.observation.discrete + 1) % 3
        await service.tell(decision, float(right))
    run = await service.learn("agents/shop", logged_feedback=pb.LoggedFeedback(passes=5))
    ended = await service.ended(run)
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED, ended.status
    assert not ended.HasField("mean_reward")
    version = await registry.version(ended.model_version)
    assert len(version.lineage[0].digest) == 64

    decisions = [await service.act("agents/shop", 1) for _ in range(200)]
    taken = Counter((decision.action, decision.probability) for decision in decisions)
    # Epsilon is 0.25, shared by three actions.
    assert set(taken) == {(2, 0.25 / 3 + 0.75), (0, 0.25 / 3), (1, 0.25 / 3)}
    assert taken[2, 0.25 / 3 + 0.75] > 140


async def test_without_feedback_there_is_nothing_to_learn_from(service: AgentService) -> None:
    await service.create("shop", SHOP)
    await service.act("agents/shop", 1)
    run = await service.learn("agents/shop", logged_feedback=pb.LoggedFeedback())
    ended = await service.ended(run)
    assert ended.status.state == job_pb2.JOB_STATE_FAILED
    assert "feedback" in ended.status.message
    assert (await service.act("agents/shop", 1)).policy == ""


async def test_what_cannot_be_learned_is_refused(service: AgentService) -> None:
    await service.create("shop", SHOP)
    with pytest.raises(InvalidField) as refused:
        await service.learn("agents/shop", simulation=pb.Simulation(steps=10))
    assert refused.value.violations[0].field == "learning_run.spec.simulation"
    with pytest.raises(NotFound):
        await service.learn("agents/nobody", logged_feedback=pb.LoggedFeedback())
    with pytest.raises(InvalidField):
        await service.learn("agents/shop")
    with pytest.raises(InvalidField):
        await service.learn("agents/shop", simulation=pb.Simulation(steps=0))


async def test_a_run_is_stopped_on_request_and_its_agent_is_deleted_only_then(
    service: AgentService, tmp_path: Path
) -> None:
    await service.create("lake", LAKE)
    run = await service.learn("agents/lake", simulation=LONG)
    await _at_work(service, run)
    with pytest.raises(InUse):
        await service.delete("agents/lake")
    with pytest.raises(WrongState):
        await _delete(service, run)
    await service.cancel(run)
    assert (await service.ended(run)).status.state == job_pb2.JOB_STATE_CANCELLED
    assert (await service.get("agents/lake")).policy == ""
    await service.delete("agents/lake")
    with pytest.raises(NotFound):
        await service.ended(run)
    assert not service.objects.list("jobs")
    assert not list((tmp_path / "run").iterdir())


async def test_a_worker_that_is_killed_costs_a_segment_and_changes_nothing(
    service: AgentService, registry: Registry, tmp_path: Path
) -> None:
    await service.create("lake", LAKE)
    # Twenty segments of 5,120 steps.
    simulation = pb.Simulation(steps=102_400, evaluation_episodes=10)
    killed = await service.learn("agents/lake", "killed", simulation=simulation, seed=5)
    before = await _at_work(service, killed)
    os.kill(_worker(tmp_path, killed), signal.SIGKILL)
    resumed = await service.ended(killed)
    assert resumed.status.state == job_pb2.JOB_STATE_SUCCEEDED, resumed.status
    assert resumed.status.attempt == 2
    metrics = {series.name: [point.step for point in series.points] for series in resumed.status.metrics}
    assert metrics["mean_greedy_reward"] == list(range(5_120, 102_401, 5_120))
    assert before.status.progress.done > 0

    whole = await service.ended(await service.learn("agents/lake", "whole", simulation=simulation, seed=5))
    digests = {(await registry.version(run.model_version)).files[0].sha256 for run in (resumed, whole)}
    assert len(digests) == 1


async def test_a_service_that_starts_anew_goes_on_with_its_runs_and_its_log(
    tmp_path: Path, registry: Registry
) -> None:
    async with running(tmp_path, registry.address) as first:
        await first.create("lake", LAKE)
        decision = await first.act("agents/lake", START, episode="e")
        run = await first.learn("agents/lake", simulation=pb.Simulation(steps=60_000))
        await _at_work(first, run)
    async with running(tmp_path, registry.address) as second:
        ended = await second.ended(run)
        assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED, ended.status
        assert ended.status.attempt == 1
        await second.tell(decision, 0.0)
        (found,) = (await second.decisions("agents/lake")).decisions
        assert found.HasField("feedback")
        assert (await second.act("agents/lake", START)).policy == ended.model_version


async def test_an_agent_goes_back_to_an_earlier_policy_of_its_own_alone(
    service: AgentService, registry: Registry
) -> None:
    await service.create("lake", LAKE)
    first, second = [
        await service.ended(await service.learn("agents/lake", run, simulation=pb.Simulation(steps=100)))
        for run in ("r1", "r2")
    ]
    agent = await service.get("agents/lake")
    assert agent.policy == second.model_version
    agent.policy = first.model_version
    agent = await service.update(agent)
    assert (await service.act("agents/lake", START)).policy == first.model_version
    agent.policy = await _copy_of_somebody_elses(registry, first.model_version)
    with pytest.raises(InvalidField) as refused:
        await service.update(agent)
    assert refused.value.violations[0].field == "agent.policy"
    agent.policy = ""
    await service.update(agent)
    assert (await service.act("agents/lake", START)).policy == ""


async def test_runs_are_listed_newest_first_without_metrics_and_deleted_when_they_have_ended(
    service: AgentService,
) -> None:
    await service.create("shop", SHOP)
    runs = [
        await service.ended(await service.learn("agents/shop", run_id, logged_feedback=pb.LoggedFeedback()))
        for run_id in ("b", "a")
    ]
    request = pb.ListLearningRunsRequest(parent="agents/shop")
    listed = (await service.stub.ListLearningRuns(request)).learning_runs
    assert [run.name for run in listed] == [run.name for run in reversed(runs)]
    assert not any(run.status.metrics for run in listed)
    await _delete(service, runs[0])
    assert len((await service.stub.ListLearningRuns(request)).learning_runs) == 1


@pytest.mark.timeout(300)
async def test_a_network_learns_to_hold_up_the_pole(service: AgentService) -> None:
    await service.create("pole", POLE)
    run = await service.learn("agents/pole", simulation=pb.Simulation(steps=50_000))
    ended = await service.ended(run)
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED, ended.status
    assert ended.mean_reward >= 475
    decision = await service.act("agents/pole", [0.0, 0.0, 0.0, 0.0])
    assert decision.policy == ended.model_version
    assert 0 < decision.probability < 1


async def _at_work(service: AgentService, run: pb.LearningRun) -> pb.LearningRun:
    """The run when its worker has kept its first segment."""
    async for seen in service.watch(run):
        if seen.status.progress.phase == "learning" and seen.status.progress.done:
            return seen
    raise AssertionError("the run ended before it was seen at work")


def _worker(folder: Path, run: pb.LearningRun) -> int:
    (file,) = (folder / "run").glob(f"*{run.uid}/*/worker-0")
    return int(file.read_text().splitlines()[0])


async def _delete(service: AgentService, run: pb.LearningRun) -> None:
    with named_errors():
        await service.stub.DeleteLearningRun(pb.DeleteLearningRunRequest(name=run.name), timeout=20)


async def _copy_of_somebody_elses(registry: Registry, name: str) -> str:
    """The same files, registered by another agent's run."""
    version = await registry.version(name)
    version.lineage[0].name = "agents/other/learningRuns/r1"
    version.parents[:] = [version.lineage[0].name]
    request = model_pb2.CreateModelVersionRequest(parent="models/other-policy", model_version=version)
    return (await registry.models.CreateModelVersion(request)).model_version.name
