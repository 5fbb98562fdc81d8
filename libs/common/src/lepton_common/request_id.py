"""The id that follows one request through every service and log line it touches.

A caller may choose it in the metadata `x-request-id`; a server makes one up where it is absent, gives it
back in the trailing metadata, and passes it on with the calls it makes itself.
"""

import os
import re
import secrets
from contextvars import ContextVar

KEY = "x-request-id"

REQUEST_ID: ContextVar[str] = ContextVar("lepton_request_id", default="")
"""The id of the request that the current task works for; empty outside of one."""

_DIGITS = 32
# Randomness is asked for together: the question costs more than all else that is done for an id.
_AT_ONCE = 256
_MADE_UP: list[str] = []
os.register_at_fork(after_in_child=_MADE_UP.clear)

_WELL_FORMED = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def accept(offered: object) -> str:
    """Takes the caller's id if it is well-formed and makes up one otherwise.

    What a caller sends ends up in log lines and in headers, so it is never taken unchecked.
    """
    if isinstance(offered, str) and _WELL_FORMED.fullmatch(offered):
        return offered
    return make_up()


def make_up() -> str:
    """Makes up an id: 32 random hexadecimal digits."""
    if not _MADE_UP:
        digits = secrets.token_hex(_DIGITS * _AT_ONCE // 2)
        _MADE_UP.extend(digits[start : start + _DIGITS] for start in range(0, len(digits), _DIGITS))
    return _MADE_UP.pop()
