"""Which names mean this machine."""

import ipaddress


def is_local(host: str) -> bool:
    """Whether a host, by name or address, is this machine's own loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
