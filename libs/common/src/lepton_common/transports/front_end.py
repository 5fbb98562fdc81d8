"""`python -m lepton_common.transports.front_end DESCRIPTOR`: a process that takes connections for
`http2_workers`.

It loads neither gRPC's library nor anything that a service is made of.
"""

import logging
import os
import socket
import ssl
import sys
from pathlib import Path

from lepton_common.telemetry.logs import configure_logging
from lepton_common.transports.http2_tls import reloading_context
from lepton_http2.relay.orders import Orders
from lepton_http2.relay.process import run


def _prepare(orders: Orders) -> ssl.SSLContext | None:
    configure_logging(orders.more["log_level"])
    certificate, key, client_ca = (path and Path(path) for path in orders.more["tls"])
    return reloading_context(certificate, key, client_ca=client_ca)


def main() -> None:
    """Runs until the process that started it says so, or ends."""
    configure_logging("INFO")
    control = socket.socket(fileno=int(sys.argv[1]))
    status = 0
    try:
        run(control, make_tls=_prepare)
    except Exception:
        logging.getLogger(__name__).exception("a front process could not go on")
        status = 1
    logging.shutdown()
    # Nothing is left to be done, and the other side waits for the end.
    os._exit(status)


if __name__ == "__main__":
    main()
