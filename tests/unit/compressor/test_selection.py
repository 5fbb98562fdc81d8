"""Which candidate is kept, and why each other is not."""

from dataclasses import replace

import pytest

from lepton_common.errors import NoCandidate
from lepton_compressor.selection import Candidate, select, selected

PLAIN = Candidate(
    name="fp32",
    precision="PRECISION_FP32",
    size_bytes=1000,
    score=0.98,
    metric="accuracy",
    latency_ms=0.2,
    batch_latency_ms=4.0,
    max_difference=1e-6,
    provider="CPUExecutionProvider",
)
INT8 = replace(PLAIN, name="int8", precision="PRECISION_INT8", size_bytes=300, batch_latency_ms=2.0)
FP16 = replace(PLAIN, name="fp16", precision="PRECISION_FP16", size_bytes=500, batch_latency_ms=4.1)


def test_the_smallest_candidate_that_holds_is_selected() -> None:
    judged = select(PLAIN, [FP16, INT8], max_drop=0.005)
    assert selected(judged).name == "int8"
    assert [each.name for each in judged] == ["fp32", "fp16", "int8"]
    assert all(bool(each.rejection) != each.selected for each in judged)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            {"score": 0.97},
            "accuracy fell by 0.0100, from 0.9800 to 0.9700; 0.0050 is",
            id="wrong",
        ),
        pytest.param({"size_bytes": 1000}, "not smaller: 1,000 bytes against 1,000", id="large"),
        pytest.param(
            {"batch_latency_ms": 6.5},
            "slower on CPUExecutionProvider: 6.500 ms",
            id="slow",
        ),
        pytest.param({"rejection": "could not be built"}, "could not be built", id="broken"),
    ],
)
def test_a_rejected_candidate_says_why(change: dict[str, object], reason: str) -> None:
    judged = select(PLAIN, [replace(INT8, **change)], max_drop=0.005)  # type: ignore[arg-type]
    assert reason in judged[1].rejection
    assert selected(judged) is judged[0]


def test_a_drop_of_exactly_what_is_allowed_is_allowed() -> None:
    judged = select(PLAIN, [replace(INT8, score=0.98 - 0.005)], max_drop=0.005)
    assert selected(judged).name == "int8"


def test_a_larger_candidate_that_holds_is_told_which_one_beat_it() -> None:
    judged = select(PLAIN, [FP16, INT8], max_drop=0.005)
    assert judged[1].rejection == (
        "int8 is better: 300 bytes and 2.000 ms for 32 records against 500 bytes and 4.100 ms for 32 records"
    )


def test_nothing_selected_is_an_error() -> None:
    with pytest.raises(NoCandidate):
        selected([PLAIN])
