"""Where a server of guard's listens: on this machine only."""

import re
from ipaddress import ip_address

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>\d{1,5})", re.ASCII)
_ALLOWED = '"127.0.0.1:9464" or "[::1]:9464"'


def parse_listen(text: str) -> tuple[str, int]:
    """(address, port) of a `metrics_listen`. Raises ValueError, which says what is allowed."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"must be an address of this machine and a port, as {_ALLOWED} (numbers: a name may lead elsewhere)")
    try:
        address = ip_address(match["v6"] or match["v4"])
    except ValueError as error:
        raise ValueError(f"must be an IP address and a port, as {_ALLOWED}") from error
    if not address.is_loopback:
        why = "whoever reaches the port could read how well this machine is guarded, without a password"
        raise ValueError(f"must be a loopback address, as {_ALLOWED}: {why}; let an agent here or a tunnel carry it further")
    if not 0 < int(match["port"]) < 65536:
        raise ValueError(f"must name a port from 1 to 65535, as {_ALLOWED}: a scraper has to find it again")
    return str(address), int(match["port"])
