"""What is counted of requests that were answered, however they came."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from lepton_inference.statistics import BUCKET_SECONDS, Run, Statistics

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
    assert statistics.queue_counts == counted(queue)
    assert statistics.total_counts == counted(total)
    assert statistics.compute_counts == counted(compute)
    assert statistics.records == statistics.success.count == len(queue)
    assert abs(statistics.queue.ns / 1e9 - sum(queue)) < 1e-6
    assert abs(statistics.success.ns / 1e9 - sum(total)) < 1e-6


def test_a_batch_that_nobody_waited_for_is_a_run_all_the_same() -> None:
    statistics = Statistics()
    statistics.answered([], 0, [Run(4, 10, 20)], started=1.0, ended=2.0)
    assert (statistics.run_count, statistics.run_ns) == (1, 20)
    assert (statistics.success.count, statistics.records) == (0, 0)


def test_pieces_of_a_request_are_runs_of_their_own() -> None:
    statistics = Statistics()
    runs = [Run(4, 0, 10), Run(4, 0, 10), Run(1, 0, 5)]
    statistics.answered([1.0], 9, runs, started=1.0, ended=1.0)
    assert {size: stages.infer.ns for size, stages in statistics.runs.items()} == {4: 20, 1: 5}
    assert statistics.requests.infer.ns == 25
    assert statistics.requests.infer.count == 1


def test_no_request_is_no_time() -> None:
    assert Statistics().last_request_ms == 0
