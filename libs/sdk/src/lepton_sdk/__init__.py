"""Python client of Lepton.

`Client` is asynchronous; `connect` gives the same calls without `await`, for notebooks and scripts:

    import lepton_sdk

    with lepton_sdk.connect() as lepton:
        print(lepton.models.list())

Results are the resources of the contracts (`lepton.*.v1`), failures are `lepton_common.errors`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lepton_sdk.addresses import Addresses
    from lepton_sdk.client import Client
    from lepton_sdk.synchronous import connect

__all__ = ["Addresses", "Client", "connect"]

_HOMES = {"Addresses": "addresses", "Client": "client", "connect": "synchronous"}


def __getattr__(name: str) -> Any:
    # Imported when they are asked for: the `lepton` command, which passes through here, answers
    # `--help` in a tenth of the time that gRPC takes to load.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
