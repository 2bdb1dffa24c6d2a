"""Telling systemd that a service is ready (Type=notify); without systemd, nothing happens.

The whole protocol is one datagram to the socket that $NOTIFY_SOCKET names (`man sd_notify`).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"


def ready(status: str) -> bool:
    """Say that the service is up; returns whether somebody was told.

    The variable leaves the environment: children do not speak for this process.

    Args:
        status: one line for `systemctl status`.
    """
    address = os.environ.pop(VARIABLE, "")
    if address[:1] not in ("/", "@"):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker, suppress(OSError):
        # "@" is how the abstract name space is spelled, whose names begin with a zero byte.
        speaker.connect("\0" + address[1:] if address.startswith("@") else address)
        speaker.sendall(f"READY=1\nSTATUS={' '.join(status.split())}".encode())
        return True
    return False
