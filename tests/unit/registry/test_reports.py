"""A report counts for half a minute, and every server has its own."""

from datetime import UTC, datetime, timedelta

import pytest

from lepton_registry.reports import counts, parent_of, report_name

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, True), (30, True), (30.001, False), (3600, False), (-1, True)]
)
def test_a_report_counts_for_half_a_minute(seconds: float, expected: bool) -> None:
    assert counts(NOW - timedelta(seconds=seconds), NOW) is expected


@pytest.mark.parametrize("replica", ["a", "host-17", "../../x", "é\n", "x" * 253])
def test_a_report_has_a_name_whatever_the_server_is_called(replica: str) -> None:
    name = report_name("endpoints/digits", replica)
    assert parent_of(name) == "endpoints/digits"
    assert name.rsplit("/", 1)[1].isalnum()
    assert name != report_name("endpoints/digits", replica + "'")
