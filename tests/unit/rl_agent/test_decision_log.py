"""The log of decisions, on both databases."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from lepton.agent.v1 import agent_pb2 as pb
from lepton_common.errors import InvalidField, NotFound
from lepton_common.records.database import Database
from lepton_rl_agent.adapters.decision_log import DecisionLog
from lepton_rl_agent.adapters.group_commit import MAX_CHANGES


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database."""
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def log(database: Database) -> AsyncIterator[DecisionLog]:
    """An empty log."""
    opened = await DecisionLog.open(database)
    yield opened
    await opened.close()


def decision(number: int) -> pb.Decision:
    """A decision to do what was seen."""
    return pb.Decision(
        id=f"d{number}",
        agent="agents/a",
        observation=pb.Observation(discrete=number),
        action=number,
        probability=0.5,
    )


async def everything(log: DecisionLog, agent: str = "a") -> list[pb.Decision]:
    """All decisions of an agent."""
    return (await log.page(agent, size=1000))[0]


async def test_what_was_written_is_there_in_its_order(log: DecisionLog) -> None:
    for number in range(3):
        assert await log.append("a", decision(number)) == decision(number)
    await log.append("b", decision(9))
    assert await everything(log) == [decision(number) for number in range(3)]


async def test_many_at_once_are_all_written(log: DecisionLog) -> None:
    count = 2 * MAX_CHANGES + 10
    await asyncio.gather(*(log.append("a", decision(number)) for number in range(count)))
    found = [each async for each in log.latest("a", limit=count)]
    assert found == [decision(number) for number in range(count)]


async def test_a_request_that_comes_again_gets_its_first_decision(log: DecisionLog) -> None:
    first = await log.append("a", decision(1), request_id="r")
    assert await log.append("a", decision(2), request_id="r") == first
    assert await log.append("b", decision(3), request_id="r") == decision(3)
    assert await everything(log) == [first]


async def test_requests_without_an_id_have_nothing_to_do_with_each_other(log: DecisionLog) -> None:
    for number in range(2):
        await log.append("a", decision(number), request_id="")
    assert len(await everything(log)) == 2


async def test_the_last_feedback_counts(log: DecisionLog) -> None:
    await log.append("a", decision(1))
    for reward in (1.0, 2.0, 2.0):
        told = pb.Feedback(reward=reward, next_observation=pb.Observation(discrete=4))
        stored = await log.record("a", "d1", told)
    assert stored.feedback.reward == 2.0
    assert stored.observation.discrete == 1
    assert await everything(log) == [stored]


async def test_a_feedback_of_nothing_but_zeros_is_a_feedback(log: DecisionLog) -> None:
    await log.append("a", decision(1))
    assert (await log.record("a", "d1", pb.Feedback())).HasField("feedback")
    assert (await everything(log))[0].HasField("feedback")


@pytest.mark.parametrize(("agent", "decision_id"), [("a", "d2"), ("b", "d1")], ids=["unknown", "another's"])
async def test_feedback_on_what_was_not_decided_is_refused(
    agent: str, decision_id: str, log: DecisionLog
) -> None:
    await log.append("a", decision(1))
    with pytest.raises(NotFound):
        await log.record(agent, decision_id, pb.Feedback(reward=1))


async def test_pages_follow_each_other(log: DecisionLog) -> None:
    for number in range(5):
        await log.append("a", decision(number))
    token, pages = "", []
    while True:
        page, token = await log.page("a", size=2, token=token)
        pages.append([each.action for each in page])
        if not token:
            break
    assert pages == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("token", ["x", "-1", "1.5", "9" * 30, "²"])
async def test_a_token_of_something_else_is_refused(token: str, log: DecisionLog) -> None:
    with pytest.raises(InvalidField):
        await log.page("a", token=token)


async def test_only_the_latest_are_read_when_there_are_too_many(log: DecisionLog) -> None:
    for number in range(5):
        await log.append("a", decision(number))
    assert [each.action async for each in log.latest("a", limit=2)] == [3, 4]


async def test_the_decisions_of_one_agent_are_deleted(log: DecisionLog) -> None:
    for agent in ("a", "b"):
        await log.append(agent, decision(1))
    await log.delete("a")
    assert await everything(log, "a") == []
    assert await everything(log, "b") == [decision(1)]


async def test_what_the_database_cannot_hold_is_refused_and_the_others_are_written(log: DecisionLog) -> None:
    writes = [log.append("a", decision(1)), log.append("a", decision(2), request_id="\0")]
    first, second = await asyncio.gather(*writes, return_exceptions=True)
    assert first == decision(1)
    assert isinstance(second, InvalidField)
    with pytest.raises(InvalidField):
        await log.record("a", "\0", pb.Feedback())


async def test_a_change_that_fails_does_not_take_the_others_along(log: DecisionLog) -> None:
    # The same id twice, without a request id: the second has no first decision to be answered with.
    writes = [log.append("a", decision(number)) for number in (1, 1, 2)]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]
    assert await everything(log) == [decision(1), decision(2)]


async def test_one_who_goes_away_does_not_stop_the_others(log: DecisionLog) -> None:
    writes = [asyncio.create_task(log.append("a", decision(number))) for number in range(3)]
    await asyncio.sleep(0)
    writes[1].cancel()
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert answers[0] == decision(0)
    assert answers[2] == decision(2)


async def test_a_log_that_is_opened_again_holds_what_it_held(log: DecisionLog, database: Database) -> None:
    await log.append("a", decision(1))
    again = await DecisionLog.open(database)
    assert await everything(again) == [decision(1)]
