"""The log of decisions, in the service's database.

A table of its own beside the resources: decisions come thousands a second, are never listed by label
and have no etag.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    select,
    text,
    update,
)

from lepton.agent.v1 import agent_pb2 as pb
from lepton_common.errors import FieldViolation, InvalidField, NotFound
from lepton_common.records.database import Database, Session
from lepton_rl_agent.adapters.group_commit import GroupCommit

_METADATA = MetaData()

_DECISIONS = Table(
    "decisions",
    _METADATA,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("agent", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("request_id", Text),
    Column("decision", LargeBinary, nullable=False),
    Column("feedback", LargeBinary),
    Index("decisions_by_agent", "agent", "position"),
    Index("decisions_by_id", "agent", "id", unique=True),
    # Rows without a request id have NULL there, and NULLs are all different.
    Index("decisions_by_request", "agent", "request_id", unique=True),
)
"""Messages `Decision` without the feedback, and `Feedback`; `agent` is the agent's uid, so that one of
the same name, made later, has a log of its own. The position grows in the order of commits."""

_KIND = "decisions"
"""What writers lock, so that positions become visible in their order."""

_INSERT = text(
    "INSERT INTO decisions (agent, id, request_id, decision) "
    "VALUES (:agent, :id, :request_id, :decision) ON CONFLICT DO NOTHING"
)
"""Both databases know the clause; SQLAlchemy has no common form of it."""

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


class DecisionLog:
    """What agents have decided and what became of it."""

    def __init__(self, database: Database) -> None:
        """Use `open`."""
        self._database = database
        self._writer = GroupCommit(database, _KIND)

    @classmethod
    async def open(cls, database: Database) -> Self:
        """Open the log that is kept in a database; its table is made when missing."""
        await database.write(lambda session: _METADATA.create_all(session.connection), [_KIND])
        return cls(database)

    async def append(self, agent: str, decision: pb.Decision, *, request_id: str = "") -> pb.Decision:
        """Write a decision down and return it; for a known request, the one of that request.

        Args:
            agent: uid of the agent.
            decision: without feedback.
            request_id: chosen by the caller; empty for none.

        Raises:
            InvalidField: the database cannot hold the request id.
        """
        _check_text(request_id, "request_id")
        values = {
            "agent": agent,
            "id": decision.id,
            "request_id": request_id or None,
            "decision": decision.SerializeToString(),
        }

        def write(connection: Connection) -> pb.Decision:
            if connection.execute(_INSERT, values).rowcount:
                return decision
            known = select(_DECISIONS).where(
                _DECISIONS.c.agent == agent, _DECISIONS.c.request_id == request_id
            )
            return _decode(connection.execute(known).one())

        return await self._writer.write(write)

    async def record(self, agent: str, decision_id: str, feedback: pb.Feedback) -> pb.Decision:
        """Write down what became of a decision, whatever was said before, and return both.

        Raises:
            NotFound: the agent made no such decision.
            InvalidField: the database cannot hold the id.
        """
        _check_text(decision_id, "decision_id")
        change = (
            update(_DECISIONS)
            .where(_DECISIONS.c.agent == agent, _DECISIONS.c.id == decision_id)
            .values(feedback=feedback.SerializeToString())
            .returning(_DECISIONS)
        )

        def write(connection: Connection) -> pb.Decision | None:
            row = connection.execute(change).one_or_none()
            return None if row is None else _decode(row)

        stored = await self._writer.write(write)
        if stored is None:
            raise NotFound(
                f"the agent has made no decision {decision_id!r}", metadata={"decision_id": decision_id}
            )
        return stored

    async def page(self, agent: str, *, size: int = 0, token: str = "") -> tuple[list[pb.Decision], str]:
        """Return some decisions with their feedback, oldest first, and the token of the next page.

        Raises:
            InvalidField: the token is none of this log's.
        """
        limit = min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        rows = await self._database.read(_reading(agent, _position(token), limit + 1))
        more = str(rows[limit - 1].position) if len(rows) > limit else ""
        return [_decode(row) for row in rows[:limit]], more

    async def latest(self, agent: str, *, limit: int) -> AsyncIterator[pb.Decision]:
        """Yield the latest decisions with their feedback, oldest first."""
        first = (
            select(_DECISIONS.c.position)
            .where(_DECISIONS.c.agent == agent)
            .order_by(_DECISIONS.c.position.desc())
            .offset(limit)
            .limit(1)
        )
        after = await self._database.read(lambda session: session.connection.execute(first).scalar()) or 0
        # Counted, since others go on writing.
        for left in range(limit, 0, -MAX_PAGE_SIZE):
            rows = await self._database.read(_reading(agent, after, min(left, MAX_PAGE_SIZE)))
            if not rows:
                return
            for row in rows:
                yield _decode(row)
            after = rows[-1].position

    async def delete(self, agent: str) -> None:
        """Delete all decisions of an agent."""
        change = delete(_DECISIONS).where(_DECISIONS.c.agent == agent)
        await self._database.write(lambda session: session.connection.execute(change), [_KIND])

    async def close(self) -> None:
        """Let what has begun end."""
        await self._writer.close()


def _reading(agent: str, after: int, limit: int) -> Callable[[Session], list[Row[Any]]]:
    query = (
        select(_DECISIONS)
        .where(_DECISIONS.c.agent == agent, _DECISIONS.c.position > after)
        .order_by(_DECISIONS.c.position)
        .limit(limit)
    )
    return lambda session: list(session.connection.execute(query).all())


def _decode(row: Row[Any]) -> pb.Decision:
    decision = pb.Decision.FromString(row.decision)
    if row.feedback is not None:
        decision.feedback.MergeFromString(row.feedback)
        decision.feedback.SetInParent()
    return decision


def _position(token: str) -> int:
    if not token:
        return 0
    if token.isascii() and token.isdigit() and len(token) < 19:
        return int(token)
    raise InvalidField(
        "the page token is not one of this listing",
        violations=[FieldViolation("page_token", "must come from the last response")],
    )


def _check_text(text: str, field: str) -> None:
    # PostgreSQL cannot, and it would be the failure of a whole group of writes.
    if "\0" in text:
        raise InvalidField(f"{field} cannot be kept", violations=[FieldViolation(field, "must not hold NUL")])
