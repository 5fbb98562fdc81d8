"""The id that follows one request through every service and log line it touches.

A caller may choose it in the metadata `x-request-id`; a server makes one up where it is absent, gives it
back in the trailing metadata, and passes it on with the calls it makes itself.
"""

import re
import secrets
from contextvars import ContextVar

KEY = "x-request-id"

REQUEST_ID: ContextVar[str] = ContextVar("lepton_request_id", default="")
"""The id of the request that the current task works for; empty outside of one."""

_WELL_FORMED = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def accept(offered: object) -> str:
    """Takes the caller's id if it is well-formed and makes up one otherwise.

    What a caller sends ends up in log lines and in headers, so it is never taken unchecked.
    """
    if isinstance(offered, str) and _WELL_FORMED.fullmatch(offered):
        return offered
    return secrets.token_hex(16)
