"""The owner of a local connection, from the kernel's list of connections."""

from __future__ import annotations

from pathlib import Path

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LOOPBACK = "0" * 24 + "01000000"
"""The form of ::1 in the tables; addresses of 127.0.0.0/8 end with 7F."""


def owner(client_port: int, server_port: int) -> int | None:
    """Return the user id of the process that made a loopback connection to this machine.

    None if the system does not list connections (only Linux does) or no longer lists this one.
    """
    for table in TABLES:
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except (OSError, ValueError):
            continue
        for line in lines:
            fields = line.split()
            if len(fields) < 8:
                continue
            address, _, port = fields[1].partition(":")
            _, _, remote_port = fields[2].partition(":")
            is_loopback = address.endswith("7F") or address == LOOPBACK
            if is_loopback and int(port, 16) == client_port and int(remote_port, 16) == server_port:
                return int(fields[7])
    return None
