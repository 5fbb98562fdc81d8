"""The queue: who goes first, what a batch may be, and what the queue adds up to."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lepton_inference.batch import Arrays, Outputs, Slots
from lepton_inference.queued import DEFAULT_PRIORITY, PRIORITIES, Queue, Queued

MOST = 8


@dataclass(eq=False)
class Waiting:
    """A request that only waits."""

    arrived: float
    records: int = 1
    priority: int = DEFAULT_PRIORITY
    kind: str = ""
    deadline: float | None = None
    size_bytes: int = 4
    is_over: bool = False
    in_place: bool = True
    errors: list[BaseException] = field(default_factory=list)

    def arrays(self) -> Arrays:
        return {}

    def fill(self, slots: Slots, row: int) -> None:
        raise AssertionError("only waits")

    def answer(self, outputs: Outputs, index: int) -> None:
        raise AssertionError("only waits")

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)


def queue_of(*requests: Waiting) -> Queue:
    queue = Queue()
    for request in requests:
        queue.put(request)
    return queue


def take(queue: Queue, most_records: int = MOST) -> list[Queued]:
    batch, late = queue.take(most_records, done=0.0)
    assert not late
    return batch


def test_higher_priorities_go_first_and_among_equals_those_that_came_first() -> None:
    requests = [Waiting(n, priority=priority) for n, priority in enumerate((3, 1, 3, 5, 1, 2))]
    queue = queue_of(*requests)
    assert take(queue, 4) == [requests[n] for n in (1, 4, 5, 0)]
    assert take(queue, 4) == [requests[n] for n in (2, 3)]
    assert queue.requests == 0


def test_one_batch_in_eight_takes_them_as_they_came() -> None:
    """However many of the highest priority come, one of the lowest waits no longer than that."""
    low = Waiting(0.0, priority=PRIORITIES)
    queue = queue_of(low)
    taken = []
    for n in range(1, 9):
        queue.put(Waiting(n, priority=1))
        queue.put(Waiting(n, priority=1))
        taken += take(queue, 1)
    assert taken.index(low) == 7


def test_a_batch_is_of_one_kind() -> None:
    requests = [Waiting(n, kind=kind) for n, kind in enumerate("aabba")]
    queue = queue_of(*requests)
    assert [take(queue), take(queue), take(queue)] == [requests[:2], requests[2:4], requests[4:]]


def test_those_that_are_late_make_no_batch_smaller() -> None:
    requests = [Waiting(n, deadline=n % 2 or None) for n in range(2 * MOST)]
    queue = queue_of(*requests)
    batch, late = queue.take(MOST, done=2.0)
    assert batch == requests[::2]
    assert late == requests[1::2][: len(late)]
    assert len(late) >= MOST - 1


def test_the_last_of_the_lowest_gives_way() -> None:
    requests = [Waiting(n, priority=priority) for n, priority in enumerate((5, 3, 5, 3))]
    queue = queue_of(*requests)
    assert [queue.take_last() for _ in requests] == [requests[n] for n in (2, 0, 3, 1)]


@pytest.mark.parametrize(
    ("records", "sizes", "found"),
    [
        ((1, 1, 1), (2, 4), 2),
        ((1, 1, 1, 1, 1), (2, 4), 4),
        ((3, 3), (4,), 0),
        ((3, 1, 3), (4, 8), 4),
        ((9,), (9,), 0),
        ((), (1,), 0),
    ],
)
def test_a_preferred_size_is_one_that_the_first_requests_have(
    records: tuple[int, ...], sizes: tuple[int, ...], found: int
) -> None:
    queue = queue_of(*(Waiting(n, records=count) for n, count in enumerate(records)))
    assert queue.preferred(sizes, most_records=MOST) == found


@given(priorities=st.lists(st.integers(1, PRIORITIES), max_size=30), priority=st.integers(1, PRIORITIES))
def test_what_goes_before_a_request_is_no_lower(priorities: list[int], priority: int) -> None:
    queue = queue_of(*(Waiting(n, records=n + 1, priority=p) for n, p in enumerate(priorities)))
    ahead = [n + 1 for n, p in enumerate(priorities) if p <= priority]
    assert queue.before(priority) == (len(ahead), sum(ahead), 4 * len(ahead))


class Requests(RuleBasedStateMachine):
    """Whatever is done to a queue, it holds what a list would, and adds it up right."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()
        self.waiting: list[Waiting] = []
        self.now = 0.0

    @rule(
        records=st.integers(1, 10),
        priority=st.integers(1, PRIORITIES),
        kind=st.sampled_from("aab"),
        seconds=st.none() | st.integers(0, 20),
    )
    def put(self, records: int, priority: int, kind: str, seconds: int | None) -> None:
        self.now += 1.0
        deadline = None if seconds is None else self.now + seconds
        request = Waiting(self.now, records, priority, kind, deadline, size_bytes=3 * records)
        self.queue.put(request)
        self.waiting.append(request)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(request)
        assert not self.queue.remove(request)
        self.waiting.remove(request)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """As one does whose caller has gone and has not said so yet."""
        data.draw(st.sampled_from(self.waiting)).is_over = True

    @rule(most=st.integers(1, 12))
    def take(self, most: int) -> None:
        batch, late = self.queue.take(most, done=self.now)
        assert len({request.kind for request in batch}) <= 1
        assert len(batch) == 1 or sum(request.records for request in batch) <= most
        assert all(request.deadline is None or request.deadline >= self.now for request in batch)
        assert all(request.deadline is not None and request.deadline < self.now for request in late)
        assert not any(request.is_over for request in (*batch, *late))
        gone = [request for request in self.waiting if request not in self.queue_contents()]
        assert {*batch, *late} <= {*gone}
        assert all(request.is_over for request in {*gone} - {*batch, *late})
        assert batch or not any(request not in gone for request in self.waiting)
        self.waiting = [request for request in self.waiting if request not in gone]

    @invariant()
    def sums_are_right(self) -> None:
        assert self.queue_contents() == {*self.waiting}
        assert self.queue.requests == len(self.waiting)
        assert self.queue.records == sum(request.records for request in self.waiting)
        assert self.queue.size_bytes == sum(request.size_bytes for request in self.waiting)
        assert self.queue.before(PRIORITIES) == (
            self.queue.requests,
            self.queue.records,
            self.queue.size_bytes,
        )
        if self.waiting:
            assert self.queue.oldest is min(self.waiting, key=lambda request: request.arrived)

    def queue_contents(self) -> set[Queued]:
        return {*self.queue}


TestRequests = Requests.TestCase
