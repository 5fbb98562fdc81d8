"""A front process without anything of a service: `python relay_front.py DESCRIPTOR`."""

import os
import socket
import sys

from lepton_http2.relay.process import run

if __name__ == "__main__":
    run(socket.socket(fileno=int(sys.argv[1])), make_tls=lambda orders: None)
    os._exit(0)
