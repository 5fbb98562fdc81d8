"""Which addresses only this machine can reach."""

import ipaddress


def is_loopback(address: str) -> bool:
    """Tells whether `host:port` names the loopback interface. A host name other than localhost does not."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
