"""Asking the server who it is, with the own certificate and without a session.

A second session under one name would throw the running client's out. `UpdateStatus` about no run is answered without
touching anything: the server's software, protocol and clock come back behind the answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from roughfed.client.connection.rpc import SERVICE, translate
from roughfed.client.members.credential_files import Credentials
from roughfed.crypto.certificates import SERVER_HOST
from roughfed.errors import RemoteProtocolError, StaleRound
from roughfed.transport.names import PROTOCOL_KEY, SOFTWARE_KEY, TIME_KEY
from roughfed.transport.options import CLIENT_OPTIONS
from roughfed.wire.updates import encode_update_status_request

NOBODY = encode_update_status_request("", 0, bytes(32))
SHOWN_CHARS = 32  # of a version


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself.

    Attributes:
        software: its version of roughfed; empty when it is too old to tell.
        oldest: the oldest version of the protocol that it speaks; 0 when it does not tell.
        protocol: the newest one.
        ahead_s: by how much its clock is ahead of this machine's; None when it does not tell.
        round_trip_s: seconds of the call; `ahead_s` is uncertain by half of them.
    """

    software: str
    oldest: int
    protocol: int
    ahead_s: float | None
    round_trip_s: float


async def fetch_server_info(address: str, credentials: Credentials, *, timeout_s: float) -> ServerInfo:
    """Call the federation port at host:port.

    Raises:
        IdentityError: the server turns this client away (revoked, replaced, foreign).
        RemoteProtocolError: reason "no-federation": it is no federation port.
        Unreachable: it does not answer.
    """
    channel_credentials = grpc.ssl_channel_credentials(
        credentials.ca_certificate, credentials.tls_key, credentials.certificate
    )
    options = (*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", SERVER_HOST))
    async with grpc.aio.secure_channel(address, channel_credentials, options=options) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/UpdateStatus")
        await _answer(ask, timeout_s, address)  # the handshake must not count as a round trip
        began, clock = time.monotonic(), time.time()
        told = await _answer(ask, timeout_s, address)
        took = time.monotonic() - began
    return _read(told, clock + took / 2, took)


async def _answer(ask: Any, timeout_s: float, address: str) -> Mapping[str, str]:
    """The trailing metadata of one call."""
    call = ask(NOBODY, timeout=timeout_s)
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            said = f"{address} belongs to this federation, but it is no federation port: the enrolment port?"
            raise RemoteProtocolError(said, reason="no-federation") from None
        if not isinstance(refused := translate(error), StaleRound):  # how a server answers that knows no greeting
            raise refused from None
        return {}
    return {str(key): str(value) for key, value in await call.trailing_metadata() or ()}


def _read(told: Mapping[str, str], clock: float, took: float) -> ServerInfo:
    oldest = protocol = 0
    ahead = None
    with suppress(ValueError):
        oldest, protocol = map(int, told.get(PROTOCOL_KEY, "0-0")[:SHOWN_CHARS].split("-"))
    with suppress(ValueError):
        ahead = float(told[TIME_KEY][:SHOWN_CHARS]) - clock if TIME_KEY in told else None
    software = "".join(c for c in told.get(SOFTWARE_KEY, "") if c.isascii() and c.isprintable())[:SHOWN_CHARS]
    return ServerInfo(software, oldest, protocol, ahead if ahead is not None and math.isfinite(ahead) else None, took)
