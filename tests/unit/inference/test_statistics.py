"""What is counted of requests that were answered, however they came."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from lepton_inference.statistics import BUCKET_SECONDS, Duration, Run, Statistics

waits = st.floats(0, 20) | st.sampled_from(BUCKET_SECONDS)


def counted(seconds: list[float]) -> list[int]:
    counts = [0] * (len(BUCKET_SECONDS) + 1)
    for one in seconds:
        counts[bisect_left(BUCKET_SECONDS, one)] += 1
    return counts


@given(
    batches=st.lists(st.tuples(st.lists(waits, min_size=1, max_size=8), st.floats(0, 5)), max_size=5),
)
def test_each_request_is_in_the_bucket_of_its_time(batches: list[tuple[list[float], float]]) -> None:
    statistics = Statistics()
    started = 1000.0
    queue: list[float] = []
    total: list[float] = []
    compute: list[float] = []
    for waited, seconds in batches:
        arrivals = [started - one for one in waited]
        ended = started + seconds
        statistics.answered(arrivals, len(arrivals), [Run(len(arrivals), 1, 2)], started=started, ended=ended)
        # As floats have it: a difference of times is not always what was added to them.
        queue += [started - arrived for arrived in arrivals]
        total += [ended - arrived for arrived in arrivals]
        compute += [ended - started] * len(arrivals)
    counts = statistics.counts()
    assert counts.queue_counts == counted(queue)
    assert counts.total_counts == counted(total)
    assert counts.compute_counts == counted(compute)
    assert counts.records == counts.success.count == len(queue)
    assert abs(counts.queue.ns / 1e9 - sum(queue)) < 1e-6
    assert abs(counts.success.ns / 1e9 - sum(total)) < 1e-6


def test_a_batch_that_nobody_waited_for_is_a_run_all_the_same() -> None:
    statistics = Statistics()
    statistics.answered([], 0, [Run(4, 10, 20)], started=1.0, ended=2.0)
    counts = statistics.counts()
    assert (counts.run_count, counts.run_ns) == (1, 20)
    assert (counts.success.count, counts.records) == (0, 0)


def test_pieces_of_a_request_are_runs_of_their_own() -> None:
    statistics = Statistics()
    runs = [Run(4, 0, 10), Run(4, 0, 10), Run(1, 0, 5)]
    statistics.answered([1.0], 9, runs, started=1.0, ended=1.0)
    counts = statistics.counts()
    assert {size: stages.infer.ns for size, stages in counts.runs.items()} == {4: 20, 1: 5}
    assert counts.requests.infer.ns == 25
    assert counts.requests.infer.count == 1


def test_no_request_is_no_time() -> None:
    assert Statistics().last_request_ms == 0


def test_all_are_counted_however_many_came_since_somebody_looked() -> None:
    statistics = Statistics()
    for _ in range(1000):
        statistics.answered([1.0, 1.0], 2, [Run(2, 1, 2)], started=1.0, ended=1.0)
    counts = statistics.counts()
    assert (counts.success.count, counts.records, counts.run_count) == (2000, 2000, 1000)
    assert counts.requests.infer == Duration(2000, 4000)
    assert counts.queue_counts[0] == 2000
