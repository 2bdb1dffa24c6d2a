"""Opening and closing a port: the same way for the federation port and the enrolment port."""

from __future__ import annotations

import asyncio
import logging

import grpc
import grpc.aio

from roughfed.errors import ConfigError

GRACE_S = 0.5
"""Calls that are open when a port closes have this long to end by themselves."""

CLOSING_S = 5.0
"""gRPC has this long to close a port. A call that arrives in the middle of it can keep it waiting for ever."""

log = logging.getLogger(__name__)
_left: list[grpc.aio.Server] = []


async def open_port(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials, *, key: str) -> int:
    """Listen on a port, and start the server.

    Args:
        server: with its handlers; the caller closes it (`close_port`).
        address: host:port; port 0 picks a free one.
        credentials: TLS with a server certificate; dynamic ones rotate by themselves.
        key: the setting behind the port, for the error.

    Returns:
        the port.

    Raises:
        ConfigError: it is taken, or not ours to open.
    """
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError:
        # Collecting a server that never ran corrupts the heap (crashes seen with grpcio 1.85): let it run once.
        await server.start()
        await server.stop(None)
        raise ConfigError(
            f"cannot listen on {address}: the port is taken, or this machine does not have the address",
            key=key,
            cure="choose another port, or 0 for any free one",
        ) from None
    await server.start()
    return port


async def close_port(server: grpc.aio.Server, address: str, *, within_s: float = CLOSING_S) -> None:
    """Close it; after a while it is left as it is, since the process is about to end."""
    closing = asyncio.create_task(server.stop(GRACE_S))
    _, late = await asyncio.wait({closing}, timeout=within_s)
    if late:
        log.warning("gRPC did not close %s in %.0f s; it is left as it is", address, within_s)
        _left.append(server)  # collecting a server that still runs corrupts the heap
