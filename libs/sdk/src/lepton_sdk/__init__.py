"""Python client of Lepton.

`Client` is asynchronous; `connect` gives the same calls without `await`, for notebooks and scripts:

    import lepton_sdk

    with lepton_sdk.connect() as lepton:
        print(lepton.models.list())

Results are the resources of the contracts (`lepton.*.v1`), failures are `lepton_common.errors`.
"""

from lepton_sdk.addresses import Addresses
from lepton_sdk.client import Client
from lepton_sdk.synchronous import connect

__all__ = ["Addresses", "Client", "connect"]
