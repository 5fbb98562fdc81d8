"""What inference servers report, and for how long it counts."""

import hashlib
from datetime import datetime, timedelta

LIFETIME = timedelta(seconds=30)
"""A server that has not reported for so long is taken to be gone."""


def counts(reported: datetime, now: datetime) -> bool:
    """Say whether a report still counts."""
    return now - reported <= LIFETIME


def report_name(parent: str, replica: str) -> str:
    """Return the name under which the report of one server on one endpoint, or on its pool, is kept.

    A server's id may hold any character, so its digest stands for it.
    """
    return f"{parent}/replicas/{hashlib.sha256(replica.encode()).hexdigest()[:32]}"


def parent_of(report: str) -> str:
    """Return the name of the endpoint or pool that a report is on."""
    return report.rsplit("/", 2)[0]
