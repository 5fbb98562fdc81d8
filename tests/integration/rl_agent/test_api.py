"""Agents, their decisions and their feedback over gRPC: a real server, a real registry."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lepton.agent.v1 import agent_pb2 as pb
from lepton_common.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidField,
    LeptonError,
    NotFound,
)

from .conftest import LAKE, POLE, SHOP, observation

if TYPE_CHECKING:
    from .conftest import AgentService


async def test_an_agent_is_made_with_its_defaults_and_read_again(service: AgentService) -> None:
    made = await service.create("lake", LAKE)
    assert made.spaces == pb.Spaces(discrete=pb.DiscreteSpace(size=16), actions=4)
    assert made.model == "models/lake-policy"
    assert made.discount == pytest.approx(0.99)
    assert await service.get("agents/lake") == made


async def test_agents_are_listed_by_name_and_label(service: AgentService) -> None:
    await service.create("b", pb.Agent(**_fields(LAKE), labels={"place": "ice"}))
    await service.create("a", SHOP)
    every = (await service.stub.ListAgents(pb.ListAgentsRequest())).agents
    assert [agent.name for agent in every] == ["agents/a", "agents/b"]
    request = pb.ListAgentsRequest(label_filter={"place": "ice"})
    assert [agent.name for agent in (await service.stub.ListAgents(request)).agents] == ["agents/b"]


async def test_making_an_agent_twice_makes_it_once(service: AgentService) -> None:
    first = await service.create("lake", LAKE, request_id="r")
    assert await service.create("lake", LAKE, request_id="r") == first
    with pytest.raises(AlreadyExists):
        await service.create("lake", LAKE, request_id="other")


async def test_nobody_brings_a_policy_along(service: AgentService) -> None:
    agent = pb.Agent(**_fields(LAKE), policy="models/other/versions/1")
    assert (await service.create("lake", agent)).policy == ""


@pytest.mark.parametrize(
    ("agent", "field"),
    [
        pytest.param(
            pb.Agent(environment="Nowhere-v0", dqn=pb.Dqn()), "agent.environment", id="no such environment"
        ),
        pytest.param(
            pb.Agent(environment="os:CartPole-v1", dqn=pb.Dqn()), "agent.environment", id="a module to import"
        ),
        pytest.param(
            pb.Agent(environment="CartPole-v1", q_learning=pb.QLearning()),
            "agent.q_learning",
            id="a table for real numbers",
        ),
        pytest.param(
            pb.Agent(environment="Taxi-v4", dqn=pb.Dqn()), "agent.dqn", id="a network for whole numbers"
        ),
        pytest.param(pb.Agent(dqn=pb.Dqn()), "agent.spaces", id="nothing says what it sees"),
        pytest.param(pb.Agent(environment="CartPole-v1"), "agent.algorithm", id="no algorithm"),
        pytest.param(
            pb.Agent(environment="CartPole-v1", dqn=pb.Dqn(), discount=1.0), "agent.discount", id="discount 1"
        ),
        pytest.param(
            pb.Agent(
                environment="CartPole-v1",
                dqn=pb.Dqn(),
                exploration=pb.Exploration(softmax=pb.Softmax(temperature=0)),
            ),
            "agent.exploration.softmax.temperature",
            id="temperature 0",
        ),
    ],
)
async def test_what_cannot_be_an_agent_is_refused_and_the_service_goes_on(
    agent: pb.Agent, field: str, service: AgentService
) -> None:
    with pytest.raises(InvalidField) as refused:
        await service.create("a", agent)
    assert field in {violation.field for violation in refused.value.violations}
    assert (await service.create("a", LAKE)).name == "agents/a"


async def test_what_may_be_set_is_replaced(service: AgentService) -> None:
    agent = await service.create("shop", SHOP)
    agent.labels["season"] = "winter"
    agent.discount = 0.5
    agent.exploration.softmax.temperature = 0.1
    updated = await service.update(agent)
    assert updated == await service.get("agents/shop")
    assert updated.labels == {"season": "winter"}
    assert updated.discount == 0.5
    assert updated.exploration == pb.Exploration(softmax=pb.Softmax(temperature=0.1))


async def test_an_update_of_what_has_changed_is_refused(service: AgentService) -> None:
    agent = await service.create("shop", SHOP)
    await service.update(pb.Agent(**_fields(SHOP), name=agent.name, discount=0.5))
    with pytest.raises(EtagMismatch):
        await service.update(agent)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"environment": "Taxi-v4"}, "agent.environment", id="another environment"),
        pytest.param(
            {"spaces": pb.Spaces(discrete=pb.DiscreteSpace(size=4), actions=2)},
            "agent.spaces",
            id="other spaces",
        ),
        pytest.param(
            {"policy": "models/shop-policy/versions/1"}, "agent.policy", id="a policy that is not there"
        ),
    ],
)
async def test_what_must_stay_is_not_changed(
    change: dict[str, Any], field: str, service: AgentService
) -> None:
    agent = await service.create("shop", SHOP)
    with pytest.raises(InvalidField) as refused:
        await service.update(pb.Agent(**(_fields(SHOP) | {"name": agent.name} | change)))
    assert [violation.field for violation in refused.value.violations] == [field]
    assert await service.get("agents/shop") == agent


async def test_before_anything_is_learned_an_agent_does_anything(service: AgentService) -> None:
    await service.create("shop", SHOP)
    decisions = [await service.act("agents/shop", 1) for _ in range(60)]
    assert {decision.action for decision in decisions} == {0, 1, 2}
    assert {decision.probability for decision in decisions} == {1 / 3}
    assert {decision.policy for decision in decisions} == {""}
    assert len({decision.id for decision in decisions}) == 60


async def test_a_decision_is_in_the_log_with_its_feedback(service: AgentService) -> None:
    await service.create("pole", POLE)
    seen, later = [0.0, 0.5, -0.5, 1.0], [0.25, 0.5, -0.5, 1.0]
    decision = await service.act("agents/pole", seen, episode="e")
    told = await service.tell(decision, 1.5, next_observation=observation(later))
    assert told.feedback == pb.Feedback(reward=1.5, next_observation=observation(later))
    assert told.observation == observation(seen)
    assert (told.episode, told.action, told.time) == ("e", decision.action, decision.time)
    assert list((await service.decisions("agents/pole")).decisions) == [told]


async def test_the_last_word_on_a_decision_counts(service: AgentService) -> None:
    await service.create("shop", SHOP)
    decision = await service.act("agents/shop", 0)
    await service.tell(decision, 1, terminated=True)
    await service.tell(decision, 2)
    (found,) = (await service.decisions("agents/shop")).decisions
    assert found.feedback == pb.Feedback(reward=2)


async def test_a_request_that_comes_again_gets_the_same_decision(service: AgentService) -> None:
    await service.create("shop", SHOP)
    first = await service.act("agents/shop", 0, request_id="r")
    assert [await service.act("agents/shop", 0, request_id="r") for _ in range(5)] == [first] * 5
    assert len((await service.decisions("agents/shop")).decisions) == 1


async def test_the_log_comes_in_pages_oldest_first(service: AgentService) -> None:
    await service.create("shop", SHOP)
    made = [await service.act("agents/shop", number % 3) for number in range(5)]
    first = await service.decisions("agents/shop", page_size=3)
    second = await service.decisions("agents/shop", page_size=3, page_token=first.next_page_token)
    assert [*first.decisions, *second.decisions] == made
    assert second.next_page_token == ""


@pytest.mark.parametrize(
    ("agent", "seen", "error"),
    [
        pytest.param("agents/nobody", 0, NotFound, id="no such agent"),
        pytest.param("agents/shop", 3, InvalidField, id="beyond the space"),
        pytest.param("agents/shop", -1, InvalidField, id="below the space"),
        pytest.param("agents/shop", [0.0], InvalidField, id="numbers for a state"),
        pytest.param("agents/pole", 0, InvalidField, id="a state for numbers"),
        pytest.param("agents/pole", [0.0] * 3, InvalidField, id="too few numbers"),
        pytest.param("agents/pole", [0.0] * 3 + [float("nan")], InvalidField, id="not a number"),
        pytest.param("agents/../x", 0, InvalidField, id="a name that is none"),
    ],
)
async def test_what_an_agent_cannot_see_is_refused(
    agent: str, seen: int | list[float], error: type[LeptonError], service: AgentService
) -> None:
    await service.create("shop", SHOP)
    await service.create("pole", POLE)
    with pytest.raises(error):
        await service.act(agent, seen)
    assert (await service.act("agents/shop", 2)).observation == observation(2)


async def test_feedback_that_fits_no_decision_is_refused(service: AgentService) -> None:
    await service.create("shop", SHOP)
    await service.create("other", SHOP)
    decision = await service.act("agents/shop", 0)
    with pytest.raises(InvalidField):
        await service.tell(decision, 1, next_observation=observation(7))
    with pytest.raises(InvalidField):
        await service.tell(decision, float("nan"))
    for stranger in (
        pb.Decision(agent="agents/shop", id="unknown"),
        pb.Decision(agent="agents/other", id=decision.id),
        pb.Decision(agent="agents/nobody", id=decision.id),
    ):
        with pytest.raises(NotFound):
            await service.tell(stranger, 1)


async def test_an_agent_that_is_deleted_leaves_nothing_to_the_next_of_its_name(
    service: AgentService,
) -> None:
    agent = await service.create("shop", SHOP)
    decision = await service.act("agents/shop", 0)
    with pytest.raises(EtagMismatch):
        await service.delete("agents/shop", etag="old")
    await service.delete("agents/shop", etag=agent.etag)
    with pytest.raises(NotFound):
        await service.act("agents/shop", 0)
    await service.create("shop", SHOP)
    assert not (await service.decisions("agents/shop")).decisions
    with pytest.raises(NotFound):
        await service.tell(decision, 1)


def _fields(agent: pb.Agent) -> dict[str, Any]:
    return {field.name: value for field, value in agent.ListFields()}
