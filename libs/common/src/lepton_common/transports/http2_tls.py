"""What a server of `lepton_http2` speaks TLS with."""

import ssl
from functools import partial
from pathlib import Path
from typing import Any

from lepton_common.reloading import Reloading
from lepton_http2.tls import server_context


def reloading_context(
    certificate: Path | None, key: Path | None, *, client_ca: Path | None
) -> ssl.SSLContext | None:
    """A context that serves whatever certificate the files hold when a client connects; None without files.

    Raises:
        OSError: the files cannot be read, or do not belong together.
    """
    if certificate is None or key is None:
        return None
    paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]
    latest = Reloading(paths, partial(server_context, certificate, key, client_ca=client_ca))
    context = latest.get()

    def renew(connection: Any, name: str | None, of_listener: ssl.SSLContext) -> None:
        # Called for clients that name no server too.
        connection.context = latest.get()

    context.sni_callback = renew
    return context
