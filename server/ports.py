"""Opening a port: the same way for the federation port and the enrolment port."""

from __future__ import annotations

import grpc
import grpc.aio

from roughfed.errors import ConfigError


async def open_port(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials, *, key: str) -> int:
    """Listen on a port, and start the server.

    Args:
        server: with its handlers; the caller stops it.
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
